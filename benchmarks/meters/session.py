"""All meters of one run, opened and closed together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.meters.clock import TimeLedger
from benchmarks.meters.contention import ContentionMeter
from benchmarks.meters.energy import EnergyMeter
from benchmarks.meters.memory import PeakMemory
from benchmarks.meters.rapl import RaplMeter
from benchmarks.meters.train_operations import TrainOperations
from benchmarks.records import Measurement

IDLE_SECONDS = 2.0
"""How long the idle draw of a GPU is sampled before the run."""


class RunMeters:
    """Clock, energy and memory of a run over named windows, resumable.

    Windows are ``first_step``, ``train``, ``evaluate`` and ``checkpoint``, each under the phase
    of training it belongs to. Meters that the machine lacks stay, and say why they have no value.

    Args:
        device: where the run trains.
        operations: counts the operations of training steps; None for a run that needs none.
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
        self._windows = (self.clock, self.gpu, self.cpu, self.machine)
        self._phases: list[str] = []

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
    def window(self, name: str) -> Iterator[None]:
        """Book everything in the block under ``name``."""
        self.open(name)
        try:
            yield
        finally:
            self.close()

    def open(self, name: str) -> None:
        """Start a window in every meter."""
        for meter in self._windows:
            meter.open(name)

    def close(self) -> None:
        """End the innermost window in every meter; look at the memory's peak."""
        for meter in self._windows:
            meter.close()
        self.memory.observe()

    def waited(self, seconds: float) -> None:
        """Seconds of training that went into waiting for data; in the warm-up they are its own."""
        if self.clock.innermost == "train":
            self.clock.add("data", self.machine.without_stop(seconds))

    def watched(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The training step with its operations counted, where the run needs that."""
        return step if self.operations is None else self.operations.watched(step)

    def train_seconds(self) -> float:
        """Training time of all phases so far."""
        return self.clock.train_seconds()

    def spent(self, currency: str) -> float | None:
        """Seconds, joules or training FLOPs of all phases so far; cheap in every step.

        Only training counts: no evaluation, no checkpoint, and of time and energy not the first
        step of a phase or of a resumed process, which is warm-up. None where it is not measured.
        """
        if currency == "seconds":
            return self.clock.train_seconds_by_host()
        if currency == "joules":
            return self.energy.train_joules()
        return None if self.operations is None else self.operations.flops()

    def spent_besides(self) -> dict[str, float]:
        """``joules`` and ``train_flops`` spent so far, as far as they are measured."""
        found = {currency: self.spent(currency) for currency in ("joules", "train_flops")}
        return {currency: amount for currency, amount in found.items() if amount is not None}

    def unmeasured(self, currency: str) -> str:
        """Why :meth:`spent` last gave nothing."""
        if currency == "joules":
            return self.energy.problem
        return "" if self.operations is None else self.operations.problem

    def measurements(self) -> Iterator[tuple[str, Measurement]]:
        """Time and energy of each phase, and the peak of memory over all, filed under the last."""
        for phase in self._phases:
            for meter in self._windows:
                for measurement in meter.measurements(phase):
                    yield phase, self.machine.flagged(phase, measurement)
        for measurement in self.memory.measurements():
            yield self.phase, measurement

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
            "operations": {} if self.operations is None else self.operations.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Add the run's earlier segments."""
        self._phases = list(state["phases"])
        self.clock.load_state_dict(state["clock"])
        self.gpu.load_state_dict(state["gpu"])
        self.cpu.load_state_dict(state["cpu"])
        self.machine.load_state_dict(state["machine"])
        self.memory.load_state_dict(state["memory"])
        if self.operations is not None:
            self.operations.load_state_dict(state["operations"])


def no_joules(device: torch.device) -> str:
    """Why the energy of training on a device cannot be measured here; empty where it can."""
    meter = EnergyMeter(device) if device.type == "cuda" else RaplMeter()
    with meter.window("train"):
        meter.train_joules()
    return meter.problem
