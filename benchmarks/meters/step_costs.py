"""What training costs, phase by phase, taken from steps that a run really makes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from benchmarks.meters.memory import PeakMemory
from benchmarks.meters.step_memory import PARTS, REST, StepMemory
from benchmarks.meters.train_operations import TrainOperations
from benchmarks.records.row import Measurement


class StepCosts:
    """Operations, memory by kind and trainable parameters of the steps of each phase.

    The steps are the run's own: its batches, its recipe, its optimizer, whatever networks the
    method trains in that phase. No copy of the model is stepped.

    Args:
        operations: chooses the steps that are taken apart, and counts in them.
        peak: the run's peak memory.
    """

    metrics = ("params_trainable", "train_flops", *PARTS, REST)

    def __init__(self, operations: TrainOperations, peak: PeakMemory | None = None) -> None:
        self._operations, self._peak = operations, peak
        self._memory: dict[str, StepMemory] = defaultdict(lambda: StepMemory(peak))
        self._taken_apart = self._warm_up = False

    def begin(self, images: int, warm_up: bool = False) -> bool:
        """A step begins, one of warm-up or not; returns whether it is taken apart."""
        self._taken_apart, self._warm_up = self._operations.begin(images), warm_up
        return self._taken_apart

    @contextmanager
    def observed(self, model: nn.Module, optim_wrapper: Any) -> Iterator[None]:
        """The training step runs inside."""
        if not self._taken_apart:
            yield
            return
        memory = self._memory[self._operations.phase]
        optimizer = getattr(optim_wrapper, "optimizer", None)
        with (
            memory.watching(model, [] if optimizer is None else [optimizer], self._warm_up),
            self._operations.counting(),
        ):
            yield

    def measurements(self, phase: str) -> list[Measurement]:
        """Costs of a phase; run-wide ones are of :meth:`overall`."""
        memory = self._memory.get(phase, StepMemory())
        return [*_costs(memory, self._operations, phase)]

    def overall(self) -> list[Measurement]:
        """Of the whole run: the mean operations of an image, the largest memory and parameters."""
        largest = StepMemory()
        for memory in self._memory.values():
            if memory.total >= largest.total:
                largest.values, largest.warm_up = memory.values, memory.warm_up
            largest.trainable = max(largest.trainable, memory.trainable)
        return [*_costs(largest, self._operations, None)]

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on."""
        return {
            "operations": self._operations.state_dict(),
            "memory": {name: memory.state_dict() for name, memory in self._memory.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the run's earlier segments."""
        self._operations.load_state_dict(state["operations"])
        self._memory.clear()
        for name, values in state["memory"].items():
            self._memory[name].load_state_dict(values)


def _costs(
    memory: StepMemory, operations: TrainOperations, phase: str | None
) -> Iterator[Measurement]:
    if memory.values:
        yield Measurement("params_trainable", memory.trainable)
    else:
        yield Measurement("params_trainable", None, "no step of training was taken apart")
    flops, images = operations.flops(phase), operations.images(phase)
    if flops is None:
        yield Measurement("train_flops", None, operations.problem)
    elif not images:
        yield Measurement("train_flops", None, "no image was trained on")
    elif not flops and memory.trainable:
        yield Measurement(
            "train_flops",
            None,
            "no operation was seen though weights were trained: "
            "the step works in another thread or outside of PyTorch",
        )
    else:
        yield Measurement("train_flops", flops / images, operations.how(phase))
    yield from memory.measurements()
