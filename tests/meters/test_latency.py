"""Latency from a clock that tells what it should."""

from __future__ import annotations

import pytest
import torch
from meters.fake_nvml import VirtualClock
from torch import nn

from benchmarks.meters.device import describe_device
from benchmarks.meters.latency import latency
from benchmarks.records.row import BUSY, is_busy


class Slow(nn.Module):
    """Takes ``base + each * batch`` seconds of a virtual clock."""

    def __init__(self, clock: VirtualClock, base: float, each: float) -> None:
        super().__init__()
        self.clock, self.base, self.each = clock, base, each
        self.calls: list[int] = []
        self.modes: set[tuple[bool, bool]] = set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(x))
        self.modes.add((self.training, torch.is_grad_enabled()))
        self.clock.sleep(self.base + self.each * len(x))
        return x


class Machine:
    """Watches that find, one after the other, these shares of their time lost to others."""

    def __init__(self, *shares: float) -> None:
        self.shares = list(shares)
        self.asked = 0

    def __call__(self) -> Machine:
        return self

    def verdict(self) -> tuple[float, str]:
        self.asked += 1
        share = self.shares.pop(0) if self.shares else 0.0
        return share, f"{BUSY}: {share:.0%}" if share else ""


def measure(base: float, each: float, **options: object) -> tuple[dict, Slow]:
    clock = VirtualClock()
    model = Slow(clock, base, each)
    options = {"watch": Machine(), **options}
    rows = latency(model, lambda n: torch.zeros(n, 2), clock=clock, **options)
    return {m.metric: m for m in rows}, model


def test_seconds_a_batch_and_images_a_second() -> None:
    rows, model = measure(0.01, 0.001, batch_sizes=(1, 10))
    assert rows["latency@1"].value == pytest.approx(0.011)
    assert rows["latency@10"].value == pytest.approx(0.020)
    assert rows["throughput@10"].value == pytest.approx(500.0)
    assert "middle half 20 to 20 ms" in rows["latency@10"].reason
    assert model.modes == {(False, False)}
    assert model.training


def test_the_budget_bounds_the_repetitions() -> None:
    rows, model = measure(0.02, 0.0, batch_sizes=(1,), budget=0.3)
    assert 14 <= int(rows["latency@1"].reason.split("n=")[1].split(",")[0]) <= 15
    assert len(model.calls) * 0.02 <= 0.3 + 0.3 / 5 + 0.04


def test_five_repetitions_unless_one_is_longer_than_the_budget() -> None:
    rows, _ = measure(0.2, 0.0, batch_sizes=(1,), budget=0.3)
    assert rows["latency@1"].reason.startswith("n=5,")
    rows, model = measure(0.4, 0.0, batch_sizes=(1,), budget=0.3)
    assert rows["latency@1"].reason == "n=1"
    assert len(model.calls) == 2


def test_the_slow_first_pass_is_not_timed() -> None:
    clock = VirtualClock()
    model = Slow(clock, 0.01, 0.0)

    def run(model: Slow, x: torch.Tensor) -> None:
        if not model.calls:
            clock.sleep(30.0)
        model(x)

    rows = latency(model, lambda n: torch.zeros(n, 2), (1,), run=run, clock=clock)
    assert rows[0].value == pytest.approx(0.01)


class Disturbed(nn.Module):
    """Takes 10 ms more in each attempt that the machine has had before it."""

    def __init__(self, clock: VirtualClock, machine: Machine) -> None:
        super().__init__()
        self.clock, self.machine = clock, machine

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.clock.sleep(0.01 * (1 + self.machine.asked))
        return x


def disturbed(*shares: float) -> tuple[dict, Machine]:
    clock, machine = VirtualClock(), Machine(*shares)
    model = Disturbed(clock, machine)
    rows = latency(model, lambda n: torch.zeros(n, 2), (1,), clock=clock, watch=machine)
    return {m.metric: m for m in rows}, machine


def test_a_disturbed_timing_is_repeated() -> None:
    rows, machine = disturbed(0.4)
    assert machine.asked == 2
    assert rows["latency@1"].value == pytest.approx(0.02)
    assert not is_busy(rows["latency@1"])
    rows, machine = disturbed()
    assert machine.asked == 1
    assert rows["latency@1"].value == pytest.approx(0.01)


def test_of_disturbed_attempts_alone_the_quietest_counts_and_is_flagged() -> None:
    rows, machine = disturbed(0.4, 0.2, 0.3, 0.1)
    assert machine.asked == 3
    for metric in ("latency@1", "throughput@1"):
        assert is_busy(rows[metric])
        assert rows[metric].reason.endswith(f"; {BUSY}: 20%")
    assert rows["latency@1"].value == pytest.approx(0.02)


def test_a_batch_that_does_not_fit_is_a_row_with_a_reason() -> None:
    def run(model: nn.Module, x: torch.Tensor) -> None:
        if len(x) > 4:
            raise torch.OutOfMemoryError("too much")

    rows = latency(nn.Identity(), lambda n: torch.zeros(n, 2), (2, 8), run=run, budget=0.01)
    found = {m.metric: m for m in rows}
    assert found["latency@2"].value > 0
    assert found["latency@8"].value is None
    assert "does not fit" in found["throughput@8"].reason


def test_batches_of_real_images_are_timed_once_each_and_averaged() -> None:
    """An image takes as many hundredths of a second as it says."""
    clock = VirtualClock()
    images = [torch.full((1, 1), float(n)) for n in range(1, 11)]
    seen: list[float] = []

    def run(model: nn.Module, x: torch.Tensor) -> None:
        seen.append(float(x))
        clock.sleep(float(x) / 100)

    rows = latency(nn.Identity(), lambda n: images, (1,), run=run, clock=clock)
    found = {m.metric: m for m in rows}
    assert found["latency@1"].value == pytest.approx(0.055)
    assert found["throughput@1"].value == pytest.approx(1 / 0.055)
    assert found["latency@1"].reason == (
        "mean over 10 batches of test images, as the work depends on the image; "
        "p10 19 ms, p90 91 ms"
    )
    assert sorted(seen[-10:]) == [float(n) for n in range(1, 11)]


def test_a_real_model_on_the_real_clock() -> None:
    model = nn.Conv2d(3, 8, 3)
    rows = latency(model, lambda n: torch.zeros(n, 3, 16, 16), (1, 4), budget=0.02)
    assert [m.metric for m in rows] == ["latency@1", "throughput@1", "latency@4", "throughput@4"]
    assert all(m.value > 0 for m in rows)


def test_device_facts() -> None:
    facts = describe_device("cpu")
    assert facts["name"]
    assert facts["cpu_cores"] >= 1
    assert facts["threads"] == torch.get_num_threads()
    assert facts["host_memory"] > 2**28
