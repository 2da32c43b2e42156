"""What a run remembers from phase to phase and across interruptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from benchmarks.engine.snapshot import Snapshot
from methods.base import PhaseResult


@dataclass
class PhaseState:
    """Finished phases, the curve, and the best weights of the last phase that validated.

    ``curve`` holds one point a validation with its phase; ``best`` is chosen on validation, the
    first of equals. ``began_at`` is the fraction of the budget that was spent before the phase
    under way.
    """

    finished: list[PhaseResult] = field(default_factory=list)
    kept: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    kept_structures: dict[str, Any] = field(default_factory=dict)
    """Of the kept weights, where the network's structure changes."""
    curve: list[dict[str, Any]] = field(default_factory=list)
    phase: str = ""
    began_at: float = 0.0
    best_value: float | None = None
    best_epoch: int | None = None
    best: dict[str, Any] | None = None
    """The fields of the best weights' :class:`~benchmarks.engine.snapshot.Snapshot`."""
    finish_done: bool = False
    """Whether the method's ``finish`` was called."""
    optimizer: dict[str, Any] | None = None
    """Of the phase that has just ended, for one that goes on with it."""

    def begin(self, phase: str, began_at: float = 0.0) -> None:
        """Start a phase: its best is its own."""
        self.phase, self.began_at = phase, began_at
        self.best_value = self.best_epoch = self.best = self.optimizer = None

    def add(
        self,
        phase: str,
        point: dict[str, Any],
        headline: str,
        take: Callable[[], Snapshot],
        better: str = "higher",
    ) -> None:
        """Add a validation to the curve and copy the weights if they are the best so far.

        A validation without the primary metric (None) is never the best.

        Args:
            phase: its name.
            point: the validation.
            headline: the primary metric.
            take: gives the copy.
            better: which way the metric is better, ``higher`` or ``lower``.
        """
        self.curve.append({"phase": phase, **point})
        value, best = point[headline], self.best_value
        if value is None:
            return
        if best is None or (value < best if better == "lower" else value > best):
            self.best_value, self.best_epoch = value, point["epoch"]
            self.best = vars(take())

    def curve_of_phase(self) -> list[dict[str, Any]]:
        """The validations of the phase under way."""
        return [point for point in self.curve if point["phase"] == self.phase]

    def end(
        self,
        batches: int,
        keep: Snapshot | None = None,
        samples: int = 0,
        optimizer_steps: int = 0,
        optimizer: dict[str, Any] | None = None,
    ) -> PhaseResult:
        """Finish the phase under way and return its result."""
        self.optimizer = optimizer
        curve = tuple(self.curve_of_phase())
        result = PhaseResult(self.phase, batches, curve, samples, optimizer_steps)
        self.finished.append(result)
        if keep is not None:
            self.kept[self.phase] = _shared(keep.weights, self.kept)
            self.kept_structures[self.phase] = keep.structure
        return result

    def state_dict(self) -> dict[str, Any]:
        """Plain containers and tensors only."""
        state = dict(vars(self))
        state["finished"] = [asdict(result) for result in self.finished]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        vars(self).update(state)
        self.finished = [
            PhaseResult(**{**result, "curve": tuple(result["curve"])})
            for result in state["finished"]
        ]


def _shared(
    weights: dict[str, torch.Tensor], kept: dict[str, dict[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """Weights that stayed as they were, held and saved once however often they are kept."""

    def once(name: str, value: torch.Tensor) -> torch.Tensor:
        earlier = (each[name] for each in kept.values() if name in each)
        alike = (each for each in earlier if each.dtype == value.dtype)
        return next((same for same in alike if torch.equal(same, value)), value)

    return {name: once(name, value) for name, value in weights.items()}
