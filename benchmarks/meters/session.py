"""All meters of one run, opened and closed together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.meters.clock import OUTSIDE, TimeLedger
from benchmarks.meters.contention import ContentionMeter
from benchmarks.meters.energy import EnergyMeter
from benchmarks.meters.guard import guarded
from benchmarks.meters.memory import PeakMemory
from benchmarks.meters.rapl import RaplMeter
from benchmarks.meters.step_costs import StepCosts
from benchmarks.meters.step_ledger import StepLedger
from benchmarks.meters.train_operations import TrainOperations
from benchmarks.records.row import Measurement

IDLE_SECONDS = 2.0
"""How long the idle draw of a GPU is sampled before the run."""
UNTIMED = ("first_step", "counted")
"""Windows of steps that are no part of the training time."""


class RunMeters:
    """Clock, energy and memory of a run over named windows, its steps and their costs; resumable.

    Windows are ``first_step``, ``train``, ``counted``, ``evaluate``, ``checkpoint`` and
    ``outside``, each under the phase of training it belongs to; what comes before the first phase
    is booked under none. Meters that the machine lacks stay, and say why they have no value.

    Args:
        device: where the run trains.
        operations: counts the operations of training steps; without it no step is taken apart.
        clock: seconds, never going backwards; None for a clock that leaves out the time in which
            the process was stopped.
    """

    def __init__(
        self,
        device: torch.device,
        operations: TrainOperations | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.machine = ContentionMeter()
        self.clock = TimeLedger(device, clock or self.machine.clock)
        self.gpu = EnergyMeter(device)
        self.cpu = RaplMeter()
        self.energy: EnergyMeter | RaplMeter = self.gpu if device.type == "cuda" else self.cpu
        """The meter of what trains."""
        self.memory = PeakMemory(device)
        self.operations = operations
        self.costs = None if operations is None else StepCosts(operations, self.memory)
        self.steps = StepLedger()
        self.places: dict[str, float] = defaultdict(float)
        """Seconds outside the budget by what they went into."""
        self._windows = (self.clock, self.gpu, self.cpu, self.machine, self.memory)
        self._now = clock or self.machine.clock
        self._phases: list[str] = []
        self._under_way = False
        self._images = 0
        self._timed = False
        self._ended = 0.0
        for meter in self._windows:
            meter.phase = ""

    @property
    def phase(self) -> str:
        """The phase that windows are booked under."""
        return self.clock.phase

    @phase.setter
    def phase(self, name: str) -> None:
        for meter in self._windows:
            meter.phase = name
        if self.operations is not None:
            self.operations.phase = name
        if name not in self._phases:
            self._phases.append(name)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sample in the background, idle draw first, and follow the memory's peak."""
        if not self.gpu.unavailable:
            self.gpu.measure_idle(IDLE_SECONDS)
        for meter in (self.gpu, self.cpu, self.machine, self.memory):
            meter.start()
        try:
            yield
        finally:
            for meter in (self.gpu, self.cpu, self.machine, self.memory):
                meter.stop()

    @contextmanager
    def training(self, phase: str) -> Iterator[None]:
        """A phase of training runs inside; its updates are counted."""
        self.phase = phase
        self._under_way = True
        try:
            with self.steps.counting_updates(phase):
                yield
        finally:
            self._under_way = False

    @contextmanager
    def window(self, name: str) -> Iterator[None]:
        """Book everything in the block under ``name``."""
        self.open(name)
        try:
            yield
        finally:
            self.close()

    @contextmanager
    def outside(self, place: str) -> Iterator[None]:
        """Book everything in the block as a method's work that no budget is charged for."""
        began = self._now()
        try:
            with self.window(OUTSIDE):
                yield
        finally:
            self.places[place] += self._now() - began

    def open(self, name: str) -> None:
        """Start a window in every meter."""
        for meter in self._windows:
            meter.open(name)

    def close(self) -> None:
        """End the innermost window in every meter."""
        for meter in self._windows:
            meter.close()

    def evaluated_outside(self, seconds: float) -> None:
        """Take seconds of an evaluation that changed the weights for work outside the budget."""
        self.clock.move(seconds, "evaluate", OUTSIDE)
        self.places["validation that changed the weights"] += seconds

    def waited(self, seconds: float) -> None:
        """Seconds of training that went into waiting for data; in the warm-up they are its own."""
        if self.clock.innermost == "train":
            self.clock.add("data", self.machine.without_stop(seconds))

    def begin_step(self, images: int) -> None:
        """A step begins, on ``images`` images; some have their operations counted, see ``costs``.

        A step that is counted is slowed by it, and has a window of its own.
        """
        self._images = images
        warm_up = self.clock.innermost == "first_step"
        counted = self.costs is not None and self.costs.begin(images, warm_up)
        self._timed = self.clock.innermost == "train" and not counted
        if counted and self.clock.innermost == "train":
            self.open("counted")

    def end_step(self) -> None:
        """The step under way and what its hooks did are over."""
        if self.clock.innermost == "counted":
            self.close()
        now = self.clock.train_seconds_by_host()
        self.steps.add(self.phase, self._images, now - self._ended if self._timed else None)
        self._ended = now

    def observed(self, model: nn.Module, optim_wrapper: Any) -> Any:
        """A context for the training step: it is taken apart if it is one to be counted."""
        return nullcontext() if self.costs is None else self.costs.observed(model, optim_wrapper)

    def hook(self, stage: str) -> Any:
        """A context for what a hook of the method does at a stage of mmengine's loop."""
        if not stage.endswith(("_iter", "_epoch")):
            return self.outside("hooks before and after training")
        if self.operations is None:
            return nullcontext()
        if stage.endswith("_iter"):
            return self.operations.counting()
        return self.operations.outside_steps()

    def train_seconds(self) -> float:
        """Training time of all phases so far, as a budget is charged; waits for the device."""
        return self.clock.train_seconds() + self._charged()

    def charged_seconds(self, phase: str) -> float:
        """What a phase is charged for its untimed steps: its median step each."""
        untimed = sum(self.clock.booked(phase, name) for name in UNTIMED)
        over = not (self._under_way and phase == self.phase)
        return self.steps.charge(phase, untimed, over)

    def spent(self, unit: str) -> float | None:
        """Seconds, joules, training FLOPs or images of all phases so far; cheap in every step.

        Only training counts, no evaluation and no checkpoint. Time and energy of the first step
        of a phase or of a resumed process, which is warm-up, and of the steps that are counted are
        charged like the phase's median step. None where it is not measured.
        """
        if unit == "seconds":
            return self.clock.train_seconds_by_host() + self._charged()
        if unit == "joules":
            joules = self.energy.train_joules()
            return None if joules is None else joules + sum(map(self.charged_joules, self._phases))
        if unit == "samples":
            return float(sum(self.steps[phase].images for phase in self.steps.phases()))
        return None if self.operations is None else self.operations.flops()

    def charged_joules(self, phase: str) -> float:
        """Joules of a phase's untimed steps, in proportion to the seconds they are charged."""
        untimed = sum(self.clock.booked(phase, name) for name in UNTIMED)
        joules = sum(self.energy.booked(phase, name) for name in UNTIMED)
        return joules * self.charged_seconds(phase) / untimed if untimed > 0 else 0.0

    def spent_besides(self) -> dict[str, float]:
        """``joules`` and ``train_flops`` spent so far, as far as they are measured."""
        found = {unit: self.spent(unit) for unit in ("joules", "train_flops")}
        return {unit: amount for unit, amount in found.items() if amount is not None}

    def unmeasured(self, unit: str) -> str:
        """Why :meth:`spent` last gave nothing."""
        if unit == "joules":
            return self.energy.problem
        return "" if self.operations is None else self.operations.problem

    def measurements(self) -> Iterator[tuple[str, Measurement]]:
        """Time, energy and peaks of memory of each phase.

        A meter that raises leaves its own rows without a value.
        """
        for phase in self._phases:
            for meter in self._windows:
                for measurement in guarded(meter.metrics, partial(meter.measurements, phase)):
                    yield phase, self.machine.flagged(phase, measurement)
            for measurement in guarded(("charged_time",), partial(self._charge, phase)):
                yield phase, self.machine.flagged(phase, measurement)

    def unbudgeted(self) -> Measurement:
        """Work of the whole run that no budget was charged for, with what it went into."""
        places = dict(self.places)
        places["first steps beyond the median step"] = sum(
            max(0.0, self.clock.booked(phase, "first_step") - self.charged_seconds(phase))
            for phase in self._phases
        )
        parts = [f"{place} {seconds:.3g} s" for place, seconds in places.items() if seconds > 0]
        found = Measurement("unbudgeted_time", sum(places.values()), "; ".join(parts))
        for phase in ("", *self._phases):
            found = self.machine.flagged(phase, found)
        return found

    def facts(self) -> dict[str, Any]:
        """For the manifest: device state, power method, idle draw, notes, who used the cores."""
        return {
            "gpu": self.gpu.facts(),
            "cpu_energy": self.cpu.unavailable or "RAPL",
            "machine": self.machine.facts(),
        }

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to add on."""
        return {
            "phases": list(self._phases),
            "clock": self.clock.state_dict(),
            "gpu": self.gpu.state_dict(),
            "cpu": self.cpu.state_dict(),
            "machine": self.machine.state_dict(),
            "memory": self.memory.state_dict(),
            "costs": {} if self.costs is None else self.costs.state_dict(),
            "steps": self.steps.state_dict(),
            "places": dict(self.places),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Add the run's earlier segments.

        What this process did before its first phase is taken off: the earlier one did it too.
        """
        self.clock.forget("")
        self.places.clear()
        self.places.update(state["places"])
        self._phases = list(state["phases"])
        self.clock.load_state_dict(state["clock"])
        self.gpu.load_state_dict(state["gpu"])
        self.cpu.load_state_dict(state["cpu"])
        self.machine.load_state_dict(state["machine"])
        self.memory.load_state_dict(state["memory"])
        self.steps.load_state_dict(state["steps"])
        if self.costs is not None:
            self.costs.load_state_dict(state["costs"])

    def _charged(self) -> float:
        return sum(map(self.charged_seconds, self._phases))

    def _charge(self, phase: str) -> Measurement:
        steps = self.steps[phase]
        total = steps.timed + steps.untimed
        note = f"{steps.untimed} of {total} steps were not timed; the median step is charged"
        return Measurement("charged_time", self.charged_seconds(phase), note)


def no_joules(device: torch.device) -> str:
    """Why the energy of training on a device cannot be measured here; empty where it can."""
    meter = EnergyMeter(device) if device.type == "cuda" else RaplMeter()
    with meter.window("train"):
        meter.train_joules()
    return meter.problem
