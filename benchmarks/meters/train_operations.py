"""Floating-point operations of the training steps that a run really makes."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from benchmarks.meters.operations import OperationCounter


class Sampling(NamedTuple):
    """How the steps of a phase are cut into blocks, of which one step each is counted.

    A block that begins at step s has ``s // share`` steps, at least ``least``, at most ``most``.
    """

    share: int
    least: int
    most: int

    def block(self, step: int) -> range:
        """The block of a step, counted from 1; the first step is one of its own."""
        block = range(1, 2)
        while step not in block:
            length = min(max(block.stop // self.share, self.least), self.most)
            block = range(block.stop, block.stop + length)
        return block


DENSE = Sampling(share=16, least=2, most=16)
"""For a budget in training FLOPs."""
SPARSE = Sampling(share=2, least=7, most=512)
"""For any other run: some eleven of 400 steps, one of 512 in the long run."""


def counted_step(block: range, seed: int, phase: str) -> int:
    """The step of a block that is counted, drawn from the seed.

    Never the second of a phase, which may be compiled again.
    """
    draw = random.Random(f"{seed}/{phase}/{block.start}")
    return draw.choice([step for step in block if step != 2])


@dataclass
class Account:
    """Operations of one phase.

    ``flops`` are those of ``images``; ``waiting`` images come before the counted step of their
    block, whose images cost ``price`` each.
    """

    steps: int = 0
    counts: int = 0
    images: int = 0
    flops: float = 0.0
    waiting: int = 0
    price: float | None = None
    outside: float = 0.0
    """Of what belongs to no single step, such as hooks at the ends of epochs."""
    problem: str = ""

    @property
    def total(self) -> float:
        """All images; those still waiting at the mean of the phase so far."""
        mean = self.flops / self.images if self.images else 0.0
        return self.flops + self.waiting * mean + self.outside

    def charge(self, images: int) -> None:
        """Add the images of a step that is not counted."""
        if self.price is None:
            self.waiting += images
        else:
            self.images += images
            self.flops += self.price * images

    def settled(self, images: int, flops: float) -> Account:
        """The account after a counted step: its price holds for the images that waited, too."""
        if not images:
            return replace(self, counts=self.counts + 1, outside=self.outside + flops)
        price, charged = flops / images, images + self.waiting
        return replace(
            self,
            counts=self.counts + 1,
            images=self.images + charged,
            flops=self.flops + price * charged,
            waiting=0,
            price=price,
        )


class TrainOperations:
    """Counts some steps of each phase and charges the others by them.

    A method's steps need not cost the same (random depth, iterations until convergence, a step
    that is skipped), so the steps of a phase are cut into blocks and one step of each block is
    counted, at a position drawn from the seed: no pattern of steps is always missed. A count
    represents the images of its block, which is exact where all steps cost the same. What the
    method's hooks do counts like the step they belong to. Two operations for a multiply-add,
    forward and backward.

    Args:
        strict: raise ``UnknownOperation`` at an operation without a formula, and count densely, as
            a budget needs it; else such a phase has no value, and ``problem`` says why.
        seed: of the run.
    """

    def __init__(self, strict: bool = False, seed: int = 0) -> None:
        self._phase = "train"
        self._strict, self._seed = strict, seed
        self._sampling = DENSE if strict else SPARSE
        self._accounts: dict[str, Account] = defaultdict(Account)
        self._block = range(0)
        self._counted = 0
        self._open: tuple[int, float] | None = None
        """Images and FLOPs so far of the step that is being counted."""

    @property
    def phase(self) -> str:
        """The phase that steps belong to."""
        return self._phase

    @phase.setter
    def phase(self, name: str) -> None:
        self._settle()
        self._phase, self._block = name, range(0)

    def begin(self, images: int) -> bool:
        """Begin a step on ``images`` images; returns whether it is one to be counted."""
        self._settle()
        account = self._accounts[self._phase]
        account.steps += 1
        if account.steps not in self._block:
            self._block = self._sampling.block(account.steps)
            self._counted = counted_step(self._block, self._seed, self._phase)
            if account.steps <= self._counted:
                account.price = None
        if account.steps == self._counted:
            self._open = (images, 0.0)
            return True
        account.charge(images)
        return False

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what runs inside, if the step under way is one to be counted."""
        if self._open is None:
            yield
            return
        with OperationCounter(strict=self._strict) as counter:
            yield
        flops = 2.0 * counter.macs
        if self._open is None:  # a checkpoint was saved inside, for which the step was settled
            self._accounts[self._phase].outside += flops
        else:
            self._open = (self._open[0], self._open[1] + flops)
        self._note(counter.unknown)

    @contextmanager
    def outside_steps(self) -> Iterator[None]:
        """Count what runs inside in full: it belongs to no single step."""
        with OperationCounter(strict=self._strict) as counter:
            yield
        self._accounts[self._phase].outside += 2.0 * counter.macs
        self._note(counter.unknown)

    @property
    def problem(self) -> str:
        """Why there is no value; empty where there is."""
        return next((a.problem for a in self._accounts.values() if a.problem), "")

    def flops(self, phase: str | None = None) -> float | None:
        """Operations so far, of one phase or (None) of all; None where some have no formula."""
        accounts = self._of(phase)
        if any(account.problem for account in accounts):
            return None
        return sum(account.total for account in accounts)

    def images(self, phase: str | None = None) -> int:
        """Images trained on so far."""
        return sum(account.images + account.waiting for account in self._of(phase))

    def how(self, phase: str | None = None) -> str:
        """How they were counted, for people."""
        accounts = self._of(phase)
        counts, steps = sum(a.counts for a in accounts), sum(a.steps for a in accounts)
        return f"counted in {counts} of {steps} steps"

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on."""
        self._settle()
        return {name: asdict(account) for name, account in self._accounts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the run's earlier segments."""
        self._accounts.clear()
        self._block, self._open = range(0), None
        for name, values in state.items():
            self._accounts[name] = Account(**values)

    def _note(self, unknown: str) -> None:
        account = self._accounts[self._phase]
        account.problem = account.problem or unknown

    def _of(self, phase: str | None) -> list[Account]:
        """Accounts up to now, the step that is being counted included."""
        accounts = dict(self._accounts)
        if self._open is not None:
            accounts[self._phase] = accounts[self._phase].settled(*self._open)
        return [account for name, account in accounts.items() if phase in (None, name)]

    def _settle(self) -> None:
        if self._open is not None:
            account = self._accounts[self._phase]
            self._accounts[self._phase] = account.settled(*self._open)
            self._open = None
