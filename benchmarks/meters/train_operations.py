"""Floating-point operations of the training steps that a run really makes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.meters.operations import OperationCounter

EVERY = 32
"""Steps between two counts once a phase is under way."""
EARLY = (1, 4, 8, 16)
"""Steps of a phase that are counted before; never the second, which may be compiled anew."""


@dataclass
class Account:
    """Operations of one phase: ``flops`` for ``images``, and ``waiting`` images not yet charged."""

    steps: int = 0
    counts: int = 0
    images: int = 0
    flops: float = 0.0
    waiting: int = 0
    problem: str = ""

    @property
    def total(self) -> float:
        """All images: those after the last count at the mean of the phase so far."""
        if not self.images:
            return 0.0
        return self.flops + self.waiting * self.flops / self.images


class TrainOperations:
    """Counts some steps of each phase and charges the others by them.

    A method's steps need not cost the same (random depth, iterations until convergence, another
    model in a later phase), so the first step of each phase is counted, the 4th, 8th and 16th, and
    every 32nd; each count stands for the images since the one before, which is exact where all
    steps cost the same. Two operations for a multiply-add, forward and backward.

    Args:
        strict: raise ``UnknownOperation`` at an operation without a formula; else the phase has no
            value, and ``problem`` says why.
    """

    def __init__(self, strict: bool) -> None:
        self.phase = "train"
        self._strict = strict
        self._accounts: dict[str, Account] = defaultdict(Account)

    def watched(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The same training step, ``(model, data, optim_wrapper)``, under this meter's eyes."""

        def train_step(model: Any, data: dict[str, Any], optim_wrapper: Any) -> Any:
            account = self._accounts[self.phase]
            account.steps += 1
            account.waiting += len(data["inputs"])
            if account.steps not in EARLY and account.steps % EVERY:
                return step(model, data, optim_wrapper)
            with OperationCounter(strict=self._strict) as counter:
                losses = step(model, data, optim_wrapper)
            account.problem = account.problem or counter.unknown
            account.flops += 2.0 * counter.macs / len(data["inputs"]) * account.waiting
            account.images += account.waiting
            account.counts += 1
            account.waiting = 0
            return losses

        return train_step

    @property
    def problem(self) -> str:
        """Why there is no value; empty where there is."""
        return next((a.problem for a in self._accounts.values() if a.problem), "")

    def flops(self, phase: str | None = None) -> float | None:
        """Operations so far, of one phase or (None) of all; None where some have no formula."""
        if self.problem:
            return None
        return sum(a.total for name, a in self._accounts.items() if phase in (None, name))

    def how(self, phase: str) -> str:
        """How they were counted, for people."""
        account = self._accounts[phase]
        return f"counted in {account.counts} of {account.steps} steps"

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on."""
        return {name: asdict(account) for name, account in self._accounts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the run's earlier segments."""
        self._accounts.clear()
        for name, values in state.items():
            self._accounts[name] = Account(**values)
