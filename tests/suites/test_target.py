"""A target: how it is written, when it is reached, and what it took."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.budget import Target
from benchmarks.engine.spent_rows import to_target
from benchmarks.engine.state import PhaseState
from benchmarks.meters.session import RunMeters
from tasks.errors import UserError

UNHURRIED = settings(deadline=None)


@UNHURRIED
@given(st.floats(-1e6, 1e6), st.sampled_from(["", "top1", "nll", "box_ap"]))
def test_a_target_is_read_back_from_what_is_written(value, metric):
    target = Target(value, metric)
    assert Target.parse(target.written()) == target


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("much", "a target is a number"),
        (True, "a target is a number"),
        (math.nan, "a target is a number"),
        ({}, "one value of one metric"),
        ({"top1": 1, "nll": 2}, "one value of one metric"),
        ({"top": 95}, "did you mean 'top"),
        ({"optimizer_steps": 95}, "neither more nor less"),
    ],
)
def test_what_is_no_target_is_refused(value, says):
    with pytest.raises(UserError, match=says):
        Target.parse(value).require_known()


@UNHURRIED
@given(st.lists(st.floats(0, 100), max_size=9), st.floats(0, 100))
def test_the_first_validation_at_the_target_or_better_counts(values, goal):
    curve = [{"top1": value, "nll": value} for value in values]
    above = [number for number, value in enumerate(values) if value >= goal]
    below = [number for number, value in enumerate(values) if value <= goal]
    assert Target(goal).reached(curve, "top1") == (above[0] if above else None)
    assert Target(goal, "nll").reached(curve, "top1") == (below[0] if below else None)


def costs(points, target=None, energy="cpu", **phases):
    """Rows of a target (top1 90) from a curve of ``(top1, seconds, joules, train_flops)``."""
    target = target or Target(90)
    state = PhaseState(phase="train")
    for number, point in enumerate(points):
        names = ("top1", "seconds", "joules", "train_flops")
        found = {n: v for n, v in zip(names, point, strict=True) if v is not None}
        state.curve.append({"phase": phases.get(f"p{number}", "train"), "epoch": number, **found})
    meters = RunMeters(torch.device("cpu"))
    meters.energy = meters.gpu if energy == "gpu" else SimpleNamespace(problem="no RAPL domain")
    return {m.metric: (m.value, m.reason) for m in to_target(target, "top1", state, meters)}


CURVE = [(50.0, 10.0, 100.0, 1e9), (90.0, 20.0, 210.0, 2e9), (95.0, 30.0, 300.0, 3e9)]


def test_time_energy_and_operations_are_those_up_to_the_validation():
    found = costs(CURVE)
    note = "top1 90 on validation after epoch 1"
    assert found == {
        "time_to_target": (20.0, note),
        "energy_to_target": (210.0, note),
        "flops_to_target": (2e9, note),
    }


def test_a_target_that_is_never_reached_has_no_price():
    for value, reason in costs(CURVE, Target(99)).values():
        assert value is None
        assert reason == "top1 came to 95 on validation: 99 was never reached"
    for value, reason in costs(CURVE, Target(99, "box_ap")).values():
        assert (value, reason) == (None, "no validation gave box_ap")


def test_what_was_not_measured_says_why():
    found = costs([(95.0, 10.0, None, None)])
    assert found["time_to_target"][0] == 10.0
    assert found["energy_to_target"] == (None, "no RAPL domain")
    assert found["flops_to_target"] == (None, "the operations of training are not counted")


def test_a_phase_whose_network_is_not_deployed_reaches_nothing():
    found = costs([(99.0, 10.0, 100.0, 1e9), *CURVE], p0="warm_up")
    assert found["time_to_target"][0] == 20.0


def test_a_gpus_counter_is_too_coarse_for_short_stretches():
    found = costs(CURVE, energy="gpu")
    value, reason = found["energy_to_target"]
    assert value == 210.0
    assert reason.endswith("quantisation error up to 2.1 J")
    short = costs([(95.0, 0.4, 100.0, 1e9)], energy="gpu")
    assert short["energy_to_target"][0] is None
    assert "too short for the counter" in short["energy_to_target"][1]
