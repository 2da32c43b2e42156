"""The host runs ahead of a GPU: a budget in seconds must not be overspent by what is queued."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.budget import Part
from benchmarks.engine.spending import SpendingHook

UNHURRIED = settings(deadline=None)

HOST = 0.001
"""Seconds that the host takes to queue a step."""


class Device:
    """A queue of steps, and a host whose clock jumps when it waits."""

    def __init__(self) -> None:
        self.host = self.done = 0.0
        self.waits = 0

    def queue(self, seconds: float) -> None:
        self.host += HOST
        self.done = max(self.done, self.host) + seconds

    def event(self, blocking: bool) -> SimpleNamespace:
        event = SimpleNamespace(at=0.0)
        event.record = lambda: setattr(event, "at", self.done)

        def wait() -> None:
            self.waits += self.host < event.at
            self.host = max(self.host, event.at)

        event.synchronize = wait
        return event


class Loop:
    def __init__(self) -> None:
        self.over = False

    def end_after_batch(self) -> None:
        self.over = True

    def expect(self, steps: int) -> None:
        pass


def train(device: Device, steps: list[float], budget: float) -> list[float]:
    """Train until the hook ends it; the seconds of the steps made."""
    spending = SimpleNamespace(waits=True, fraction=lambda batches: device.host / budget)
    hook = SpendingHook(spending, Part(0.0), (), 0, None, 1, torch.device("cuda"))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    hook.before_train(SimpleNamespace(optim_wrapper=SimpleNamespace(optimizer=optimizer)))
    loop = Loop()
    made: list[float] = []
    while not loop.over:
        seconds = steps[len(made) % len(steps)]
        device.queue(seconds)
        runner = SimpleNamespace(iter=len(made), train_loop=loop)
        hook.after_train_iter(runner, 0)
        made.append(seconds)
    return made


@UNHURRIED
@given(
    steps=st.lists(st.floats(0.05, 0.1), min_size=1, max_size=9),
    budget=st.floats(0.5, 20.0),
)
def test_it_ends_within_a_step_of_what_the_device_has_done(steps, budget):
    with pytest.MonkeyPatch.context() as patch:
        device = Device()
        patch.setattr(torch.cuda, "Event", device.event)
        made = train(device, steps, budget)
    assert budget <= device.done < budget + made[-1] + HOST


def test_the_queue_is_never_empty_but_at_the_end(monkeypatch):
    device = Device()
    monkeypatch.setattr(torch.cuda, "Event", device.event)
    made = train(device, [0.1], 10.0)
    assert device.done == pytest.approx(sum(made) + HOST * 5, abs=HOST * 4), "the device idled"


def test_a_host_that_is_slower_than_the_device_never_waits(monkeypatch):
    device = Device()
    monkeypatch.setattr(torch.cuda, "Event", device.event)
    train(device, [HOST / 10], 1.0)
    assert device.waits <= 4
