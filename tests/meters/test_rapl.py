"""CPU energy from a powercap folder of our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from meters.fake_nvml import VirtualClock

from benchmarks.meters.rapl import RaplMeter

RANGE = 1_000_000
"""A joule, which a counter of 1000 W goes through in a millisecond of the clock."""


class Powercap:
    """Writes the files that the kernel shows."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def domain(self, folder: str, name: str, microjoules: int = 0) -> None:
        path = self.root / folder
        path.mkdir(parents=True, exist_ok=True)
        (path / "name").write_text(name + "\n")
        (path / "max_energy_range_uj").write_text(f"{RANGE}\n")
        (path / "energy_uj").write_text(f"{microjoules}\n")

    def show(self, folder: str, microjoules: int) -> None:
        (self.root / folder / "energy_uj").write_text(f"{microjoules}\n")


@pytest.fixture
def powercap(tmp_path: Path) -> Powercap:
    return Powercap(tmp_path)


def test_packages_are_summed_and_their_parts_left_out(powercap: Powercap) -> None:
    domains = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }
    for folder, name in domains.items():
        powercap.domain(folder, name)
    meter = RaplMeter(powercap.root, interval=None, clock=VirtualClock())
    with meter.window("train"):
        for folder, name in domains.items():
            powercap.domain(folder, name, 300_000)
    (row,) = meter.measurements()
    assert row.metric == "energy_cpu_package"
    assert row.value == pytest.approx(0.6)
    assert "2 package(s)" in row.reason


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, RANGE - 1), st.lists(st.integers(0, RANGE - 1), min_size=1, max_size=8))
def test_wrap_around(powercap: Powercap, start: int, steps: list[int]) -> None:
    powercap.domain("intel-rapl:0", "package-0", start)
    meter = RaplMeter(powercap.root, interval=None, clock=VirtualClock())
    total = start
    for number, step in enumerate(steps):
        with meter.window("train" if number % 2 else "evaluate"):
            total += step
            powercap.show("intel-rapl:0", total % RANGE)
    assert sum(meter.joules().values()) == pytest.approx(sum(steps) / 1e6)


def test_nothing_there_and_nothing_readable(
    powercap: Powercap, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = RaplMeter(powercap.root).measurements()
    assert (row.value, row.reason) == (None, "no RAPL domain on this machine")
    powercap.domain("intel-rapl:0", "package-0")
    read = Path.read_text

    def denied(self: Path, *args: object) -> str:
        if self.name == "energy_uj":
            raise PermissionError
        return read(self, *args)

    monkeypatch.setattr(Path, "read_text", denied)
    meter = RaplMeter(powercap.root)
    with meter.window("train"):
        pass
    (row,) = meter.measurements()
    assert (row.value, row.reason) == (None, "RAPL counters need root to read")


def test_counters_that_vanish_leave_no_value(powercap: Powercap) -> None:
    powercap.domain("intel-rapl:0", "package-0")
    meter = RaplMeter(powercap.root, interval=None, clock=VirtualClock())
    with meter.window("train"):
        (powercap.root / "intel-rapl:0" / "energy_uj").unlink()
    (row,) = meter.measurements()
    assert row.value is None
    assert "no longer" in row.reason


def test_a_window_in_which_a_counter_may_have_wrapped_unseen_has_no_energy(
    powercap: Powercap,
) -> None:
    clock = VirtualClock()
    powercap.domain("intel-rapl:0", "package-0", 0)
    meter = RaplMeter(powercap.root, interval=None, clock=clock)
    with meter.window("train"):
        clock.now += 0.0009
        powercap.show("intel-rapl:0", 100_000)
    with meter.window("evaluate"):
        clock.now += 2.0
        powercap.show("intel-rapl:0", 200_000)
    assert meter.joules() == {"train": pytest.approx(0.1), "evaluate": None}
    assert meter.train_joules() == pytest.approx(0.1)
    rows = {m.metric: m for m in meter.measurements()}
    assert rows["energy_cpu_package"].value == pytest.approx(0.1)
    assert rows["energy_cpu_package@evaluate"].value is None
    assert "not read for 2 s" in rows["energy_cpu_package@evaluate"].reason

    state = json.loads(json.dumps(meter.state_dict()))
    resumed = RaplMeter(powercap.root, interval=None, clock=clock)
    resumed.load_state_dict(state)
    with resumed.window("evaluate"):
        powercap.show("intel-rapl:0", 300_000)
    assert resumed.joules() == {"train": pytest.approx(0.1), "evaluate": None}
    with resumed.window("train"):
        clock.now += 2.0
        resumed.train_joules()
        assert resumed.train_joules() is None
        assert "wrap around" in resumed.problem
    assert resumed.joules()["train"] is None


def test_resumed_run_adds_on(powercap: Powercap) -> None:
    powercap.domain("intel-rapl:0", "package-0", 0)
    first = RaplMeter(powercap.root, interval=None, clock=VirtualClock())
    with first.window("train"):
        powercap.domain("intel-rapl:0", "package-0", 400_000)
    state = json.loads(json.dumps(first.state_dict()))
    powercap.domain("intel-rapl:0", "package-0", 900_000)
    second = RaplMeter(powercap.root, interval=None, clock=VirtualClock())
    second.load_state_dict(state)
    with second.window("train"):
        powercap.domain("intel-rapl:0", "package-0", 950_000)
    assert second.joules()["train"] == pytest.approx(0.45)
