"""What training cost, phase by phase, and what a target took: rows from meters and the curve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from torch import nn

from benchmarks.budget import COUNTED, Target
from benchmarks.engine.building import Built
from benchmarks.engine.state import PhaseState
from benchmarks.meters.energy_rows import quantisation, too_short
from benchmarks.meters.guard import guarded
from benchmarks.meters.parameters import parameters
from benchmarks.meters.session import RunMeters
from benchmarks.records.row import METRICS, Measurement, busy_note, noted
from methods.base import PhaseResult

_TO_TARGET = {
    "time_to_target": ("seconds", "time is not measured"),
    "energy_to_target": ("joules", "the energy of training is not measured"),
    "flops_to_target": ("train_flops", "the operations of training are not counted"),
}


def phase_rows(
    built: Built, meters: RunMeters, state: PhaseState, batches_per_epoch: int
) -> Iterator[tuple[str, Measurement]]:
    """Rows of every phase of training, with the phase that they belong to.

    Args:
        built: the run's parts.
        meters: of the run.
        state: what training left.
        batches_per_epoch: batches in one epoch.
    """
    found: dict[tuple[str, str], Measurement] = {}
    for phase, measurement in meters.measurements():
        found[phase, measurement.metric] = measurement
        yield phase, measurement
    energy = "energy_gpu_counter" if meters.energy is meters.gpu else "energy_cpu_package"
    for result in state.finished:
        name, timed = result.name, meters.steps[result.name].timed
        joules, seconds = found[name, energy], found[name, "train_time"]
        yield name, Measurement("batches", result.batches)
        yield name, Measurement("samples", result.samples)
        yield name, Measurement("optimizer_steps", result.optimizer_steps)
        yield name, an_epoch("epoch_time", seconds, timed, batches_per_epoch)
        yield name, an_epoch("energy_epoch", joules, timed, batches_per_epoch)
        for unit in built.spec.budget.amounts:
            amount = spent(unit, result, meters, joules, images_per_epoch(built, batches_per_epoch))
            busy = {"seconds": seconds.reason, "joules": joules.reason}
            yield name, noted(amount, busy_note(busy.get(unit, "")))
        if meters.costs is not None:
            for measurement in guarded(
                meters.costs.metrics, partial(meters.costs.measurements, name)
            ):
                yield name, measurement
    if built.spec.target is not None and state.finished:
        last = state.finished[-1].name
        busy = {
            "time_to_target": _any_busy(found, "train_time"),
            "energy_to_target": _any_busy(found, energy),
        }
        for measurement in to_target(built.spec.target, built.task.headline, state, meters):
            yield last, noted(measurement, busy.get(measurement.metric, ""))


def _any_busy(found: Mapping[tuple[str, str], Measurement], metric: str) -> str:
    """The note of the first phase whose value was measured while the machine was busy."""
    notes = (busy_note(m.reason) for (_, name), m in found.items() if name == metric)
    return next(filter(None, notes), "")


def run_rows(
    meters: RunMeters, model: nn.Module, companions: Mapping[str, nn.Module] | None = None
) -> Iterator[Measurement]:
    """Rows of a run's training as a whole: its parameters, its costs, the time outside the budget.

    Operations are the mean over the images trained on; memory and trainable parameters are those
    of the phase with the most.
    """
    yield from guarded(("params",), lambda: Measurement("params", parameters(model).stored))
    if companions:
        held = nn.ModuleList(companions.values())
        note = ", ".join(companions)
        yield from guarded(
            ("params_companions",),
            lambda: Measurement("params_companions", parameters(held).stored, note),
        )
    if meters.costs is not None:
        yield from guarded(meters.costs.metrics, meters.costs.overall)
    yield from guarded(("unbudgeted_time",), meters.unbudgeted)


def images_per_epoch(built: Built, batches_per_epoch: int) -> int:
    """Images in the batches of an epoch: the last, shorter one is left out."""
    return batches_per_epoch * min(built.recipe.batch_size, built.task.train_samples())


def an_epoch(metric: str, measured: Measurement, timed: int, batches_per_epoch: int) -> Measurement:
    """Time or energy of a whole epoch, from the steps of a phase that were timed."""
    if not timed:
        return Measurement(metric, None, "no step of this phase was timed: one step is warm-up")
    if measured.value is None:
        return Measurement(metric, None, measured.reason)
    epoch = Measurement(metric, measured.value / timed * batches_per_epoch)
    return noted(epoch, busy_note(measured.reason))


def spent(
    unit: str,
    result: PhaseResult,
    meters: RunMeters,
    joules: Measurement,
    per_epoch: int,
) -> Measurement:
    """What a phase spent in a unit of the budget: samples really seen, steps really made.

    An epoch is as many images as the task's batches have in one, ``per_epoch``.
    """
    metric, name = f"spent_{unit}", result.name
    if unit in COUNTED:
        counted = {
            "epochs": result.samples / per_epoch,
            "samples": result.samples,
            "steps": result.optimizer_steps,
        }
        return Measurement(metric, counted[unit])
    steps = meters.steps[name]
    charged = f"{steps.untimed} of {steps.timed + steps.untimed} steps at the median step"
    if unit == "seconds":
        seconds = meters.clock.train_seconds(name) + meters.charged_seconds(name)
        return Measurement(metric, seconds, charged)
    if unit == "joules":
        # What the budget was judged by, even where windows are too short for a row of energy.
        amount = meters.energy.joules(name).get("train", 0.0) or 0.0
        amount += meters.charged_joules(name)
        return Measurement(metric, amount, "; ".join(filter(None, [charged, joules.reason])))
    assert meters.operations is not None
    flops = meters.operations.flops(name)
    how = meters.operations.how(name) if flops is not None else meters.operations.problem
    return Measurement(metric, flops, how)


def to_target(
    target: Target, headline: str, state: PhaseState, meters: RunMeters
) -> list[Measurement]:
    """``time_to_target``, ``energy_to_target`` and ``flops_to_target``.

    They hold the training of all phases up to the first validation of the last phase, whose
    network is deployed, that reached the target. Evaluations cost nothing.
    """
    metric = target.metric or headline
    before = len(state.curve) - len(state.curve_of_phase())
    first = target.reached(state.curve[before:], headline)
    if first is None:
        reason = missed(target, metric, state)
        return [Measurement(name, None, reason) for name in _TO_TARGET]
    point = state.curve[before + first]
    note = f"{metric} {point[metric]:.4g} on validation after epoch {point['epoch']}"
    found = []
    for name, (unit, otherwise) in _TO_TARGET.items():
        value = point.get(unit)
        if value is None:
            why = meters.unmeasured(unit) or otherwise
            found.append(Measurement(name, None, why))
        elif unit == "joules" and meters.energy is meters.gpu:
            found.append(by_counter(name, point, before + first + 1, note))
        else:
            found.append(Measurement(name, value, note))
    return found


def by_counter(metric: str, point: Mapping[str, Any], stretches: int, note: str) -> Measurement:
    """Joules of a GPU's counter, which is too coarse for short stretches between validations."""
    reason = too_short(point["seconds"], stretches)
    if reason:
        return Measurement(metric, None, reason)
    error = quantisation(point["joules"], point["seconds"], stretches)
    return Measurement(metric, point["joules"], f"{note}; quantisation error up to {error:.3g} J")


def missed(target: Target, metric: str, state: PhaseState) -> str:
    """Why there is no price of a target."""
    values = [p[metric] for p in state.curve_of_phase() if p.get(metric) is not None]
    if not values:
        return f"no validation gave {metric}"
    best = min(values) if METRICS[metric].better == "lower" else max(values)
    return f"{metric} came to {best:.4g} on validation: {target.value:g} was never reached"
