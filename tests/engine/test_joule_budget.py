"""A budget in joules: which meter it goes by, and what happens where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine.spending_helpers import Clock, Paced, tiny_session

from benchmarks.meters import session as meters_session
from benchmarks.meters.rapl import RaplMeter
from tasks.errors import UserError


class Powercap:
    """CPU packages that draw 50 W on the test's clock, as the kernel shows them."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._clock, self._from = clock, clock.now
        self._file = root / "intel-rapl:0" / "energy_uj"
        self._file.parent.mkdir()
        self.gone = False
        (self._file.parent / "name").write_text("package-0\n")
        (self._file.parent / "max_energy_range_uj").write_text("1000000000000\n")
        self.show()

    def show(self) -> None:
        shown = round(50e6 * (self._clock.now - self._from))
        self._file.write_text("" if self.gone else f"{shown}\n")


def joules_run(tmp_path, monkeypatch, act):
    """Ten steps of 2 s at 50 W; ``act(powercap, step)`` after each."""
    clock = Clock()
    powercap = Powercap(tmp_path, clock)

    class Meter(RaplMeter):
        def _advance_safely(self):
            powercap.show()
            super()._advance_safely()

    monkeypatch.setattr(
        meters_session, "RaplMeter", lambda: Meter(tmp_path, interval=None, clock=clock)
    )

    class Acting(Paced):
        def train_step(self, model, data, optim_wrapper):
            act(powercap, len(self.taken))
            return super().train_step(model, data, optim_wrapper)

    return tiny_session(tmp_path / "run", Acting(clock, [2.0]), {"joules": 1000.0})


def test_joules_end_training(tmp_path, monkeypatch):
    run = joules_run(tmp_path, monkeypatch, lambda powercap, step: None)
    state = run.run()
    assert state.finished[0].batches == 10
    assert run.meters.spent("joules") == pytest.approx(1000.0)
    assert state.curve[-1]["joules"] == pytest.approx(1000.0)


def test_joules_that_can_no_longer_be_read_fail_the_run(tmp_path, monkeypatch):
    def act(powercap, step):
        if step == 4:
            powercap.gone = True

    run = joules_run(tmp_path, monkeypatch, act)
    with pytest.raises(UserError, match="budget in joules cannot be kept: RAPL counters could no"):
        run.run()
