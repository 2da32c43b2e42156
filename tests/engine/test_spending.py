"""A metered budget: it ends training, it drives the schedule, and it survives a kill."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from engine.spending_helpers import BATCH, EPOCH, Clock, Paced, tiny_session
from engine.training_helpers import save_every_step
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from benchmarks.engine.optim import schedule_in_batches
from benchmarks.engine.spent_rows import an_epoch
from benchmarks.engine.virtual_schedule import TICKS, VirtualSchedule
from benchmarks.meters.train_operations import TrainOperations
from methods.base import Phase

FEW = settings(max_examples=12, deadline=None)
STEP_FLOPS = 3 * 2 * BATCH * 2 * 2
"""Of one batch of the tiny network: weights forward and backward, inputs need no gradient."""
SCHEDULES: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "cosine": [{"type": "CosineAnnealingLR", "T_max": 1.0, "eta_min": 0.001}],
    "warm_up_cosine": [
        {"type": "LinearLR", "start_factor": 0.1, "end": 0.2},
        {"type": "CosineAnnealingLR", "begin": 0.2, "T_max": 0.8},
    ],
    "steps": [
        {"type": "LinearLR", "start_factor": 0.001, "begin": 0.0, "end": 0.1},
        {"type": "MultiStepLR", "begin": 0.0, "end": 1.0, "milestones": [0.5, 0.75], "gamma": 0.1},
    ],
    "poly": [{"type": "PolyLR", "power": 0.9, "eta_min": 1e-4}],
    "constant": [{"type": "ConstantLR", "factor": 0.2, "end": 0.5}],
}


def folder() -> Path:
    return Path(tempfile.mkdtemp())


def charged(taken: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Each batch with what the budget is charged: the first of a phase at most its median."""
    found = []
    for phase, own in itertools.groupby(taken, key=lambda one: one[0]):
        first, *rest = [seconds for _, seconds in own]
        fair = min(first, sorted(rest)[len(rest) // 2]) if rest else first
        found += [(phase, seconds) for seconds in (fair, *rest)]
    return found


@FEW
@given(
    seconds=st.lists(st.floats(0.5, 5.0), min_size=1, max_size=7),
    budget=st.floats(1.0, 40.0),
    share=st.floats(0.1, 0.9),
    epochs=st.integers(1, 2),
)
def test_all_phases_together_overspend_by_less_than_two_steps(seconds, budget, share, epochs):
    phases = [Phase("search", share=share), Phase("warm_up", epochs=epochs), Phase("train")]
    method = Paced(Clock(), seconds, phases)
    run = tiny_session(folder(), method, {"seconds": budget})
    state = run.run()
    total = sum(s for _, s in charged(method.taken))
    assert run.meters.spent("seconds") == pytest.approx(total)
    # A first step is charged once the second one tells its price.
    assert budget - 1e-6 <= total < budget + 2 * max(seconds)
    steps = {result.name: result.batches for result in state.finished}
    assert steps.get("warm_up", 0) <= epochs * EPOCH
    if "train" in steps:
        assert steps["warm_up"] == epochs * EPOCH


def test_a_first_step_that_works_ahead_is_charged_as_a_median_step_and_told(tmp_path):
    """A compilation is no fault of the method's; a search hidden there must not go unseen."""
    method = Paced(Clock(), [100.0, *[1.0] * 1000])
    run = tiny_session(tmp_path, method, {"seconds": 20.0})
    state = run.run()
    assert state.finished[0].batches == 20
    assert run.meters.spent("seconds") == pytest.approx(20.0)
    found = run.meters.unbudgeted()
    assert found.value == pytest.approx(99.0)
    assert "first steps beyond the median step 99 s" in found.reason


def test_phases_of_a_single_step_are_charged_in_full(tmp_path):
    phases = [Phase(f"part {number}", share=1e-6) for number in range(200)]
    method = Paced(Clock(), [1.0], phases)
    run = tiny_session(tmp_path, method, {"seconds": 20.0})
    state = run.run()
    assert sum(result.batches for result in state.finished) <= 21
    assert run.meters.spent("seconds") <= 21


@FEW
@given(batches=st.integers(1, 40), part=st.floats(0.01, 1.0))
def test_training_flops_pay_for_every_step_the_first_included(batches, part):
    method = Paced(Clock())
    budget = (batches - 1 + part) * STEP_FLOPS
    run = tiny_session(
        folder(), method, {"train_flops": budget}, operations=TrainOperations(strict=True)
    )
    run.run()
    assert len(method.taken) == batches
    assert run.meters.spent("train_flops") == pytest.approx(batches * STEP_FLOPS)


@pytest.mark.parametrize("steps", [3, 12, 100])
def test_the_unit_that_is_exhausted_first_ends_training(tmp_path, steps):
    method = Paced(Clock(), [2.0])
    state = tiny_session(tmp_path, method, {"seconds": 20.0}, steps=steps).run()
    assert state.finished[0].batches == min(steps, 10), "ten steps of 2 s, the first one included"


def test_a_phase_that_stops_leaves_the_rest_to_the_next(tmp_path):
    phases = [Phase("search", share=0.5, stop=lambda curve: True), Phase("train")]
    method = Paced(Clock(), [1.0], phases)
    state = tiny_session(tmp_path, method, {"seconds": 40.0}).run()
    assert [p.batches for p in state.finished] == [EPOCH, 40 - EPOCH]


def test_every_phase_has_its_share_and_a_schedule_of_its_own(tmp_path):
    phases = [Phase("search", share=0.5), Phase("tune", share=0.25), Phase("train")]
    method = Paced(Clock(), [1.0], phases)
    run = tiny_session(tmp_path, method, {"seconds": 80.0}, schedule=SCHEDULES["cosine"])
    state = run.run()
    assert [p.batches for p in state.finished] == [40, 20, 20]
    seen = iter(method.rates.seen)
    for length in (40, 20, 20):
        own = [next(seen) for _ in range(length)]
        assert own[:2] == [0.1, 0.1], "the first step is charged when the second one is made"
        assert own[length // 2 + 1] == pytest.approx(0.05, abs=0.01)
        assert own[-1] < 0.003


def test_nothing_is_left_for_a_phase_after_the_end(tmp_path):
    phases = [Phase("long", epochs=100), Phase("train")]
    method = Paced(Clock(), [1.0], phases)
    state = tiny_session(tmp_path, method, {"seconds": 7.0}).run()
    assert [p.name for p in state.finished] == ["long"]
    assert state.curve[-1]["batch"] == 7, "the end of the budget is validated"


def test_a_budget_ends_after_a_whole_optimizer_step(tmp_path):
    method = Paced(Clock(), [1.0])
    state = tiny_session(tmp_path, method, {"seconds": 9.0}, accumulate=4).run()
    assert state.finished[0].batches == 12


def rates(budget: int, name: str, pace: float = 1.0, **metered: float) -> list[float]:
    """Learning rates of a run; without a metered amount the budget is in steps."""
    operations = TrainOperations(strict=True) if "train_flops" in metered else None
    method = Paced(Clock(), [pace])
    tiny_session(
        folder(),
        method,
        metered,
        steps=None if metered else budget,
        schedule=SCHEDULES[name],
        operations=operations,
    ).run()
    return method.rates.seen


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_schedule_is_mmengines_at_the_spent_fraction(name):
    """Every step of equal cost: as if the number of steps had been known."""
    known, metered = rates(40, name), rates(0, name, train_flops=40 * STEP_FLOPS)
    assert len(known) == len(metered) == 40
    # mmengine counts a ramp of n steps in n - 1 intervals: the two may be a step apart.
    for step, rate in enumerate(metered):
        near = known[max(0, step - 1) : step + 2]
        assert min(near) - 1e-3 * 0.1 <= rate <= max(near) + 1e-3 * 0.1


@pytest.mark.parametrize("name", SCHEDULES)
def test_methods_of_unequal_speed_meet_at_equal_fractions(name):
    fast, slow = rates(0, name, 1.0, seconds=240.0), rates(0, name, 6.0, seconds=240.0)
    assert (len(fast), len(slow)) == (240, 40)
    # The first step is charged with the second.
    assert slow[2:] == fast[12::6]


@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    fractions=st.lists(st.floats(0, 1), min_size=1, max_size=6).map(sorted),
)
@settings(max_examples=15, deadline=None)
def test_a_fraction_gives_the_rate_of_mmengines_tick(name, fractions):
    def optimizer():
        layers = [nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1)]
        groups = [{"params": layer.parameters()} for layer in layers]
        groups[1]["lr"] = 0.3
        groups[2]["weight_decay"] = 0.5
        return OptimWrapper(torch.optim.SGD(groups, lr=0.1, momentum=0.9))

    def run_to(tick):
        wrapper = optimizer()
        schedulers = [
            PARAM_SCHEDULERS.build({"end": TICKS, **config, "optimizer": wrapper})
            for config in schedule_in_batches(SCHEDULES[name], TICKS)
        ]
        for _ in range(tick):
            for scheduler in schedulers:
                scheduler.step()
        return wrapper.get_lr()["lr"]

    wrapper = optimizer()
    schedule = VirtualSchedule(SCHEDULES[name], wrapper.optimizer)
    schedule.begin()
    assert wrapper.get_lr()["lr"] == run_to(0)
    for fraction in fractions:
        schedule.turn(fraction)
        assert wrapper.get_lr()["lr"] == run_to(int(fraction * TICKS))


def test_a_rate_that_a_hook_lowers_stays_lowered(tmp_path):
    method = Paced(Clock(), [1.0])

    class Halve(type(method.rates)):
        def after_train_iter(self, runner, batch_idx, **_):
            if runner.iter == 9:
                for group in runner.optim_wrapper.param_groups:
                    group["lr"] /= 2

    method.rates = Halve()
    tiny_session(tmp_path, method, {"seconds": 40.0}, schedule=SCHEDULES["cosine"][:1]).run()
    whole = rates(0, "cosine", seconds=40.0)
    assert method.rates.seen[9] == whole[9]
    assert method.rates.seen[12] == pytest.approx(whole[12] / 2, rel=0.02)


@pytest.fixture
def every_step(monkeypatch):
    save_every_step(monkeypatch)


TWO = (Phase("search", share=0.4, keep=True), Phase("train"))


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("stop_at", [2, 7, 17, 20, 31])
def test_a_killed_run_spends_the_same_flops_to_the_same_weights(tmp_path, stop_at):
    def made(where, stop_at=None):
        return tiny_session(
            tmp_path / where,
            Paced(Clock(), phases=TWO, stop_at=stop_at),
            {"train_flops": 40 * STEP_FLOPS},
            schedule=SCHEDULES["warm_up_cosine"],
            operations=TrainOperations(strict=True),
        )

    whole, again = made("whole"), made("cut")
    state = whole.run()
    with pytest.raises(KeyboardInterrupt):
        made("cut", stop_at).run()
    resumed = again.run()
    assert [p.batches for p in state.finished] == [p.batches for p in resumed.finished] == [16, 24]
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key])
    assert [p["lr"] for p in state.curve] == [p["lr"] for p in resumed.curve]
    assert again.meters.spent("train_flops") == whole.meters.spent("train_flops")


@pytest.mark.usefixtures("every_step")
@settings(max_examples=6, deadline=None)
@given(stop_at=st.integers(2, 38))
def test_a_killed_run_spends_the_same_seconds(stop_at):
    where = folder()
    first = Paced(Clock(), [1.0], TWO, stop_at)
    with pytest.raises(KeyboardInterrupt):
        tiny_session(where, first, {"seconds": 40.0}).run()
    second = Paced(Clock(), [1.0], TWO)
    run = tiny_session(where, second, {"seconds": 40.0})
    run.run()
    assert run.meters.spent("seconds") == pytest.approx(40.0)
    assert len(first.taken) + len(second.taken) in (40, 41)


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("stop_at", [3, 12])
def test_an_epoch_takes_as_long_however_often_the_run_was_killed(stop_at):
    """The first step of each process is not timed, so it must not be divided by."""
    where = folder()
    with pytest.raises(KeyboardInterrupt):
        tiny_session(where, Paced(Clock(), [1.0], stop_at=stop_at), {}, steps=20).run()
    run = tiny_session(where, Paced(Clock(), [1.0]), {}, steps=20)
    run.run()
    seconds = next(m for m in run.meters.clock.measurements("train") if m.metric == "train_time")
    timed = run.meters.steps["train"].timed
    assert timed == 18
    assert an_epoch("epoch_time", seconds, timed, EPOCH).value == pytest.approx(EPOCH)
