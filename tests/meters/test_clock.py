"""Seconds by window: exclusive, conserved, resumable."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from meters.fake_nvml import VirtualClock

from benchmarks.meters import clock as clock_module
from benchmarks.meters.clock import TimeLedger

NAMES = st.sampled_from(["train", "first_step", "evaluate", "checkpoint"])
TREES = st.recursive(
    st.floats(0.0, 100.0),
    lambda children: st.tuples(NAMES, st.lists(children, max_size=4)),
    max_leaves=15,
)


@given(st.lists(TREES, max_size=4), st.floats(0.0, 50.0))
def test_windows_sum_to_the_whole(trees: list, waited: float) -> None:
    clock = VirtualClock()
    ledger = TimeLedger(clock=clock)
    expected: dict[str, float] = {}

    def play(tree: object, name: str) -> None:
        if isinstance(tree, float):
            clock.sleep(tree)
            expected[name] = expected.get(name, 0.0) + tree
        else:
            inner, children = tree
            with ledger.window(inner):
                for child in children:
                    play(child, inner)

    start = clock.now
    with ledger.window("train"):
        for tree in trees:
            play(tree, "train")
        ledger.add("data", waited)
    seconds = ledger.seconds()
    assert sum(seconds.values()) == pytest.approx(clock.now - start, abs=1e-6)
    assert ledger.train_seconds() == pytest.approx(expected.get("train", 0.0), abs=1e-6)
    for name in set(expected) - {"train"}:
        assert seconds[name] == pytest.approx(expected[name], abs=1e-6)


def test_rows_and_what_never_happened() -> None:
    clock = VirtualClock()
    ledger = TimeLedger(clock=clock)
    with ledger.window("first_step"):
        clock.sleep(5)
    with ledger.window("train"):
        clock.sleep(10)
        ledger.add("data", 2.5)
        with ledger.window("evaluate"):
            clock.sleep(3)
    rows = {m.metric: m for m in ledger.measurements()}
    assert rows["train_time"].value == 10
    assert "2.5 s of it waiting" in rows["train_time"].reason
    assert rows["data_time"].value == 2.5
    assert rows["warmup_time"].value == 5
    assert rows["eval_time"].value == 3
    assert rows["total_time"].value == 18
    assert rows["checkpoint_time"].value is None
    assert "checkpoint" in rows["checkpoint_time"].reason
    assert all(m.value is None for m in ledger.measurements("another phase"))


def test_a_window_ends_with_an_exception() -> None:
    clock = VirtualClock()
    ledger = TimeLedger(clock=clock)

    def fail() -> None:
        with ledger.window("train"), ledger.window("evaluate"):
            clock.sleep(1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    clock.sleep(100)
    assert ledger.seconds() == {"train": 0, "evaluate": 1}


def test_phases_are_kept_apart() -> None:
    clock = VirtualClock()
    ledger = TimeLedger(clock=clock)
    with ledger.window("train"):
        clock.sleep(1)
        ledger.phase = "fine"
        clock.sleep(2)
    assert ledger.seconds("train") == {"train": 1}
    assert ledger.seconds("fine") == {"train": 2}
    assert ledger.seconds() == {"train": 3}


def test_resumed_run_adds_on() -> None:
    clock = VirtualClock()
    first = TimeLedger(clock=clock)
    with first.window("train"):
        clock.sleep(4)
        with first.window("checkpoint"):
            clock.sleep(1)
            state = json.loads(json.dumps(first.state_dict()))
            clock.sleep(50)  # lost: after the state was written
    second = TimeLedger(clock=clock)
    second.load_state_dict(state)
    with second.window("train"):
        clock.sleep(6)
    assert second.seconds() == {"train": 10, "checkpoint": 1}


def test_the_device_is_synchronised_at_boundaries_only(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[torch.device] = []
    monkeypatch.setattr(clock_module, "synchronize", calls.append)
    ledger = TimeLedger("cpu", clock=VirtualClock())
    with ledger.window("train"):
        for _ in range(10):
            ledger.add("data", 0.1)
    assert len(calls) == 2


def test_closing_what_is_not_open_is_a_mistake() -> None:
    with pytest.raises(RuntimeError, match="no window"):
        TimeLedger().close()
