"""The steps of a run: how many, on how many images, with how many updates, and how long each."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

KEPT = 255
"""Durations of a phase that its median is taken from: of its first steps that were timed."""


@dataclass
class PhaseSteps:
    """The steps of one phase.

    ``untimed`` steps are those outside the window ``train``: the first of a process, and those
    whose operations were counted.
    """

    images: int = 0
    timed: int = 0
    untimed: int = 0
    durations: list[float] = field(default_factory=list)
    """Seconds, sorted."""
    updates: dict[str, int] = field(default_factory=dict)
    """Optimizer steps by what they update, see :class:`StepLedger`."""

    @property
    def median(self) -> float | None:
        """Seconds of the median step; None where none was timed."""
        return self.durations[len(self.durations) // 2] if self.durations else None

    @property
    def updated(self) -> int:
        """Updates of the parameters that were updated most often."""
        return max(self.updates.values(), default=0)


class StepLedger:
    """Batches, images, optimizer updates and durations of steps, by phase.

    Updates are counted where optimizers make them, whoever calls them: eight in a batch are eight.
    Optimizers of different parameters that step side by side count once.
    """

    def __init__(self) -> None:
        self._phases: dict[str, PhaseSteps] = defaultdict(PhaseSteps)
        self._names: dict[int, str] = {}

    def __getitem__(self, phase: str) -> PhaseSteps:
        return self._phases[phase]

    def phases(self) -> list[str]:
        """The phases that had a step."""
        return list(self._phases)

    @contextmanager
    def counting_updates(self, phase: str) -> Iterator[None]:
        """Count the optimizer steps made inside for a phase."""
        updates = self._phases[phase].updates
        self._names.clear()

        def updated(optimizer: torch.optim.Optimizer, *_: object) -> None:
            key = self._key(optimizer)
            updates[key] = updates.get(key, 0) + 1

        handle = register_optimizer_step_post_hook(updated)
        try:
            yield
        finally:
            handle.remove()

    def add(self, phase: str, images: int, seconds: float | None) -> None:
        """Book a step; ``seconds`` is None for one that was not timed as training."""
        steps = self._phases[phase]
        steps.images += images
        if seconds is None:
            steps.untimed += 1
            return
        steps.timed += 1
        if len(steps.durations) < KEPT:
            insort(steps.durations, seconds)

    def updates(self, phase: str | None = None) -> int:
        """Optimizer updates of one phase or (None) of all."""
        return sum(s.updated for name, s in self._phases.items() if phase in (None, name))

    def charge(self, phase: str, untimed_seconds: float, over: bool) -> float:
        """Seconds that the untimed steps of a phase are charged: its median step each.

        Args:
            phase: its name.
            untimed_seconds: what those steps really took; no more is charged.
            over: whether the phase has ended: with no step timed, all of it is charged then, and
                nothing before, for the first step may have compiled the network.
        """
        steps = self._phases[phase]
        if steps.median is None:
            return untimed_seconds if over else 0.0
        return min(untimed_seconds, steps.untimed * steps.median)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to add on."""
        return {name: asdict(steps) for name, steps in self._phases.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the run's earlier segments."""
        self._phases.clear()
        for name, values in state.items():
            self._phases[name] = PhaseSteps(**values)

    def _key(self, optimizer: torch.optim.Optimizer) -> str:
        """What an optimizer updates: the same for another one that is made for the same.

        The name has to be the same in a resumed process, where optimizers may take their first
        step in another order: it is the shape of the first parameter, and the number of that
        parameter among those of this shape in the phase.
        """
        first = next((p for group in optimizer.param_groups for p in group["params"]), None)
        if first is None:
            return ""
        if id(first) not in self._names:
            shape = "x".join(map(str, first.shape))
            alike = sum(name.startswith(f"{shape}#") for name in self._names.values())
            self._names[id(first)] = f"{shape}#{alike}"
        return self._names[id(first)]
