"""Latency and throughput at inference, by batch size."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import nn

from benchmarks.meters.contention import Watch
from benchmarks.meters.modes import evaluating, forward, is_input, synchronize
from benchmarks.records.row import Measurement, noted

FEWEST = 5
"""Repetitions that a median needs at least."""
REAL_BUDGET = 5.0
"""Seconds for a batch size where batches differ."""
ATTEMPTS = 3
"""How often a batch size is timed at most, while others hold the cores."""


def latency(
    model: nn.Module,
    example_fn: Callable[[int], torch.Tensor | Sequence[torch.Tensor]],
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
        example_fn: a batch on ``device`` for a batch size; or several of real images, for a model
            whose work depends on the image: each is timed once, as far as ``REAL_BUDGET`` goes,
            and the value is the mean.
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
                given = example_fn(size)
                real = not is_input(given)
                inputs = itertools.cycle(given if real else [given])

                def once(inputs: Iterator[torch.Tensor] = inputs) -> float:
                    batch = next(inputs)
                    synchronize(device)
                    start = clock()
                    run(model, batch)
                    synchronize(device)
                    return clock() - start

                limits = (REAL_BUDGET, len(given)) if real else (budget, most)
                timed = partial(_repeat, once, *limits)
                times, busy = _quietest(timed, watch)
            except torch.OutOfMemoryError:
                reason = f"a batch of {size} does not fit in the device's memory"
                rows += [Measurement(f"{m}@{size}", None, reason) for m in _METRICS]
                torch.cuda.empty_cache()
                continue
            found = _mean_rows(size, times) if real else _rows(size, times)
            rows += [noted(row, busy) for row in found]
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


def _mean_rows(size: int, times: list[float]) -> list[Measurement]:
    """Of batches of real images, each timed once."""
    mean = statistics.fmean(times)
    note = f"mean over {len(times)} batches of test images, as the work depends on the image"
    if len(times) > 1:
        tenths = statistics.quantiles(times, n=10, method="inclusive")
        note += f"; p10 {tenths[0] * 1e3:.3g} ms, p90 {tenths[-1] * 1e3:.3g} ms"
    return _both(size, mean, note)


def _rows(size: int, times: list[float]) -> list[Measurement]:
    median = statistics.median(times)
    note = f"n={len(times)}"
    if len(times) >= FEWEST:
        low, _, high = statistics.quantiles(times, n=4)
        note += f", middle half {low * 1e3:.3g} to {high * 1e3:.3g} ms"
    return _both(size, median, note)


def _both(size: int, seconds: float, note: str) -> list[Measurement]:
    rows = [Measurement(f"latency@{size}", seconds, note)]
    if seconds > 0:
        rows.append(Measurement(f"throughput@{size}", size / seconds, note))
    else:
        rows.append(Measurement(f"throughput@{size}", None, "too fast for the clock"))
    return rows
