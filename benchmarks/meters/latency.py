"""Latency and throughput at inference, by batch size."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

from benchmarks.meters.contention import Watch
from benchmarks.meters.modes import evaluating, forward, synchronize
from benchmarks.records import Measurement, noted

FEWEST = 5
"""Repetitions that a median needs at least."""
ATTEMPTS = 3
"""How often a batch size is timed at most, while others hold the cores."""


def latency(
    model: nn.Module,
    example_fn: Callable[[int], torch.Tensor],
    batch_sizes: Sequence[int] = (1, 32),
    device: torch.device | str = "cpu",
    budget: float = 0.3,
    most: int = 200,
    run: Callable[[nn.Module, torch.Tensor], object] = forward,
    clock: Callable[[], float] = time.perf_counter,
    watch: Callable[[], Watch] = Watch,
) -> list[Measurement]:
    """``latency@B`` (median seconds a batch) and ``throughput@B`` (images/s) for each batch size.

    Every repetition is one forward pass in evaluation mode, with the device synchronised before
    and after. Passes before the timing fill caches and let cudnn choose. The spread is in the
    note: the range of the middle half of the repetitions. Where others held the cores, the timing
    is repeated; of three attempts that were all disturbed the least disturbed one counts, flagged.

    Args:
        model: the network; an mmengine model is called with ``mode="tensor"``.
        example_fn: a batch on ``device`` for a batch size.
        batch_sizes: batch sizes to measure.
        device: where the model is.
        budget: seconds for a batch size. At least five repetitions are made all the same, unless
            a single one takes longer than the budget.
        most: repetitions at most.
        run: how to call the model, where a call with the tensor alone does not do.
        clock: seconds.
        watch: starts to watch the machine.
    """
    device = torch.device(device)
    rows: list[Measurement] = []
    with evaluating(model):
        for size in batch_sizes:
            try:
                inputs = example_fn(size)

                def once(inputs: torch.Tensor = inputs) -> float:
                    synchronize(device)
                    start = clock()
                    run(model, inputs)
                    synchronize(device)
                    return clock() - start

                times, busy = _quietest(lambda once=once: _repeat(once, budget, most), watch)
            except torch.OutOfMemoryError:
                reason = f"a batch of {size} does not fit in the device's memory"
                rows += [Measurement(f"{m}@{size}", None, reason) for m in _METRICS]
                torch.cuda.empty_cache()
                continue
            rows += [noted(row, busy) for row in _rows(size, times)]
    return rows


_METRICS = ("latency", "throughput")


def _quietest(
    timed: Callable[[], list[float]], watch: Callable[[], Watch]
) -> tuple[list[float], str]:
    """The least disturbed of some attempts, and the note on what disturbed it; often empty."""
    best: tuple[float, list[float], str] | None = None
    for _ in range(ATTEMPTS):
        watched = watch()
        times = timed()
        share, reason = watched.verdict()
        if best is None or share < best[0]:
            best = share, times, reason
        if not reason:
            break
    assert best is not None
    return best[1:]


def _repeat(once: Callable[[], float], budget: float, most: int) -> list[float]:
    """Seconds of each repetition, after a warm-up of a fifth of the budget."""
    warm_up = once()
    while warm_up < budget / 5:
        warm_up += once()
    times = [once()]
    fewest = 1 if times[0] > budget else FEWEST
    while len(times) < most and (len(times) < fewest or sum(times) + min(times) <= budget):
        times.append(once())
    return times


def _rows(size: int, times: list[float]) -> list[Measurement]:
    median = statistics.median(times)
    note = f"n={len(times)}"
    if len(times) >= FEWEST:
        low, _, high = statistics.quantiles(times, n=4)
        note += f", middle half {low * 1e3:.3g} to {high * 1e3:.3g} ms"
    rows = [Measurement(f"latency@{size}", median, note)]
    if median > 0:
        rows.append(Measurement(f"throughput@{size}", size / median, note))
    else:
        rows.append(Measurement(f"throughput@{size}", None, "too fast for the clock"))
    return rows
