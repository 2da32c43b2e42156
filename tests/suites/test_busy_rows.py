"""What is derived from a value measured on a busy machine carries its flag."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch

from benchmarks.budget import Target
from benchmarks.engine.spent_rows import phase_rows
from benchmarks.engine.state import PhaseState
from benchmarks.meters.contention import Contention
from benchmarks.meters.session import RunMeters
from benchmarks.records.row import is_busy
from methods.base import PhaseResult

BUSY = Contention(seconds=9.0, waited=4.0, cpu=5.0, others=10.0, others_machine=10.0)
QUIET = Contention(seconds=9.0, waited=0.0, cpu=9.0, others=0.1, others_machine=0.1)


def flagged(train: Contention) -> set[str]:
    """The metrics with a flag, of a run with one phase, a budget of seconds and a target."""
    meters = RunMeters(torch.device("cpu"))
    meters.phase = "train"
    clock = {"seconds": {"train": {"first_step": 1.0, "train": 9.0, "data": 1.0, "evaluate": 2.0}}}
    windows = {"train": {"train": asdict(train), "evaluate": asdict(QUIET)}}
    meters.clock.load_state_dict(clock)
    meters.machine.load_state_dict({"windows": windows})
    meters.steps.add("train", 4, None)
    for _ in range(9):
        meters.steps.add("train", 4, 1.0)
    state = PhaseState(phase="train")
    state.finished = [PhaseResult("train", 10)]
    state.curve = [{"phase": "train", "epoch": 1, "top1": 95.0, "seconds": 9.0}]
    built = SimpleNamespace(
        spec=SimpleNamespace(
            budget=SimpleNamespace(amounts={"seconds": 10.0, "steps": 10}), target=Target(90)
        ),
        task=SimpleNamespace(headline="top1", train_samples=lambda: 20),
        recipe=SimpleNamespace(batch_size=4, accumulate=1),
    )
    rows = [m for _, m in phase_rows(built, meters, state, 5)]
    assert {"train_time", "epoch_time", "time_to_target"} <= {m.metric for m in rows if m.value}
    return {m.metric for m in rows if is_busy(m)}


@pytest.mark.parametrize(("train", "whole"), [(BUSY, {"total_time"}), (QUIET, set())])
def test_the_flag_is_kept_in_what_follows_from_a_flagged_time(train, whole) -> None:
    derived = {"train_time", "data_time", "epoch_time", "spent_seconds", "time_to_target"}
    derived |= {"charged_time"}
    assert flagged(train) == (derived | whole if whole else set())
