"""Energy of an image at inference."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

from benchmarks.meters.contention import Watch
from benchmarks.meters.energy import EnergyMeter
from benchmarks.meters.energy_rows import quantisation
from benchmarks.meters.modes import evaluating, forward, is_input, synchronize
from benchmarks.meters.rapl import RaplMeter
from benchmarks.records.row import Measurement, noted

SECONDS = 3.0
"""How long images are run through; the counter's steps then cost some 3 %."""


def inference_energy(
    model: nn.Module,
    example_fn: Callable[[int], torch.Tensor | Sequence[torch.Tensor]],
    batch_size: int,
    device: torch.device,
    run: Callable[[nn.Module, torch.Tensor], object] = forward,
    seconds: float = SECONDS,
    meter: EnergyMeter | RaplMeter | None = None,
    clock: Callable[[], float] = time.monotonic,
    watch: Callable[[], Watch] = Watch,
) -> Measurement:
    """``energy_image@B`` in joules: the same batch again and again, in evaluation mode.

    The idle draw of the device is part of it. Takes no time where there is no meter.

    Args:
        model: the network; an mmengine model is called with ``mode="tensor"``.
        example_fn: a batch on ``device`` for a batch size; or several of real images, for a model
            whose work depends on the image: they take turns, and the value is their mean.
        batch_size: images in a batch.
        device: where the model is.
        run: how to call the model, where a call with the tensor alone does not do.
        seconds: how long to go on.
        meter: the device's; None for a new one.
        clock: seconds, never going backwards.
        watch: starts to watch the machine.
    """
    name = f"energy_image@{batch_size}"
    if meter is None:
        meter = EnergyMeter(device) if device.type == "cuda" else RaplMeter()
    if meter.unavailable:
        return Measurement(name, None, meter.unavailable)

    def go(batches: int) -> None:
        for _ in range(batches):
            run(model, next(inputs))
        synchronize(device)

    with evaluating(model):
        try:
            given = example_fn(batch_size)
            real = not is_input(given)
            inputs = itertools.cycle(given if real else [given])
            go(3)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            reason = f"a batch of {batch_size} does not fit in the device's memory"
            return Measurement(name, None, reason)
        done, at_once = 0, 1
        watched = watch()
        with meter.window("inference"):
            started = now = clock()
            while now - started < seconds:
                before = now
                go(at_once)
                done += at_once
                now = clock()
                # Waiting for the device after every small batch would leave it idle.
                at_once *= 2 if now - before < seconds / 50 else 1
    _, busy = watched.verdict(of_machine=isinstance(meter, RaplMeter))
    joules = meter.joules()["inference"]
    if joules is None:
        return Measurement(name, None, "the energy counter could not be read all the time")
    images = done * batch_size
    note = f"{images} images in {now - started:.3g} s"
    if real:
        note += f", {len(given)} batches of test images in turn, as the work depends on the image"
    if isinstance(meter, EnergyMeter):
        error = quantisation(joules, now - started, 1) / images
        note += f"; quantisation error up to {error:.2g} J"
    return noted(Measurement(name, joules / images, note), busy)
