"""Multiply-adds of a deployable network: of any image, or executed on average over test images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import nn

from benchmarks.meters.guard import guarded
from benchmarks.meters.modes import evaluating, forward, repeated, shapes
from benchmarks.meters.operations import Count, OperationCounter, count_pass
from benchmarks.meters.real_images import RealImages, resized
from benchmarks.records.row import Measurement
from tasks.errors import UserError

SIZES = (1, 2, 3)
"""Batches whose costs must lie on a line."""
PROBED = (16, 128)
"""Test images, at least and at most, that show whether the operations depend on the image."""
PROBED_MACS = 2e11
"""Between the two, as many as take so many multiply-adds."""
EXECUTED = 512
"""Test images that executed operations are counted over, at most."""

DEPENDS = "the operations depend on the image: see {}"
DISTRIBUTION: dict[str, Callable[[Sequence[int]], float]] = {
    "": fmean,
    "@p10": lambda counts: float(np.quantile(counts, 0.1)),
    "@p90": lambda counts: float(np.quantile(counts, 0.9)),
    "@min": min,
    "@max": max,
}


@dataclass(frozen=True)
class Probe:
    """What one image tells of all.

    Attributes:
        image: one that any other costs as much as, in the costed size.
        depends: whether the operations depend on the image; then none of it holds for others.
        note: how that was found out; empty where no value of a tensor is read at all.
    """

    image: torch.Tensor
    depends: bool
    note: str


@dataclass(frozen=True)
class BatchCost:
    """Multiply-adds of a batch of N images: ``per_pass + N * each``."""

    each: int
    per_pass: int

    @property
    def alone(self) -> int:
        """Those of a batch of one image."""
        return self.per_pass + self.each


class VariantOperations:
    """Counts the operations of one deployable network.

    Args:
        model: the network.
        device: where it is.
        example: gives an input of so many images, in the costed size.
        images: test images.
        run: the forward pass that is counted, of a network and an input.
        part: the backbone, where it is a part of the network; None where it is all of it.
    """

    def __init__(
        self,
        model: BaseModel,
        device: torch.device,
        example: Callable[[int], torch.Tensor],
        images: RealImages,
        run: Callable[..., object] = forward,
        part: nn.Module | None = None,
    ) -> None:
        self._model, self._device, self._example = model, device, example
        self.images, self._run, self._part = images, run, part

    @cached_property
    def depends(self) -> bool:
        """Whether the operations depend on the image, as far as they can be counted.

        Where they cannot, the names of the operations are compared. A network that cannot be run
        at all gives its reason wherever it is measured.
        """
        for found in (lambda: self.probe.depends, self._other_calls):
            with suppress(Exception):
                return found()
        return False

    @cached_property
    def probe(self) -> Probe:
        """Find out whether test images of one size cost the same.

        Only where values of tensors are read in Python, or decide a shape, can they differ.
        """
        example = self._example(1)
        counted = self._count(example)
        if not counted.reads:
            return Probe(example, False, "")
        most = int(np.clip(PROBED_MACS // max(1, counted.macs), *PROBED))
        images = [resized(image, example) for image in self.images.evenly(most)]
        if not images:
            raise UserError("there is no test image to count operations on")
        found: dict[tuple[torch.Size, ...], int] = {}
        for image in images:
            macs = self._count(image).macs
            if found.setdefault(shapes(image), macs) != macs:
                return Probe(image, True, "")
        note = f"the same for {len(images)} of {len(self.images)} test images"
        return Probe(images[0], False, note)

    def rows(self) -> list[Measurement]:
        """``macs`` and ``macs_per_pass``, other countings, and what test images executed."""
        names = ["macs_executed"]
        found = guarded(("macs", "macs_per_pass"), self._batch_rows)
        found += self._one("macs@fvcore", self._model, "fvcore", self._run)
        part = self._part
        if part is not None:
            names.append("macs_executed_backbone")
            found += self._one("macs_backbone", part, "plain", forward)
        if self.depends:
            metrics = [name + suffix for name in names for suffix in DISTRIBUTION]
            found += guarded(metrics, self._executed_rows)
        return found

    def _batch_rows(self) -> list[Measurement]:
        if self.probe.depends:
            reason = DEPENDS.format("macs_executed")
            return [Measurement(name, None, reason) for name in ("macs", "macs_per_pass")]
        image = self.probe.image

        def macs(size: int) -> int:
            return self._count(repeated(image, size)).macs

        cost = batch_cost(macs)
        notes = [self.probe.note] if self.probe.note else []
        if cost.per_pass:
            share = 100 * cost.per_pass / cost.alone
            notes.append(f"{share:.3g} % of it once per forward pass, whatever the batch")
        per_pass = f"from batches of {', '.join(map(str, SIZES))} images"
        return [
            Measurement("macs", cost.alone, "; ".join(notes)),
            Measurement("macs_per_pass", cost.per_pass, per_pass),
        ]

    def _one(
        self,
        metric: str,
        network: nn.Module,
        counting: str,
        run: Callable[..., object],
    ) -> list[Measurement]:
        def measure() -> Measurement:
            if self.probe.depends:
                suffix = "_backbone" if metric == "macs_backbone" else ""
                return Measurement(metric, None, DEPENDS.format(f"macs_executed{suffix}"))
            counted = count_pass(network, self.probe.image, counting, run)
            return Measurement(metric, counted.macs, self.probe.note)

        return guarded((metric,), measure)

    def _executed_rows(self) -> list[Measurement]:
        part = self._part
        counts = [
            count_pass(self._model, image, run=self._run, part=part)
            for image in self.images.evenly(EXECUTED)
        ]
        note = f"{len(counts)} of {len(self.images)} test images, one by one"
        found = _distribution("macs_executed", [count.macs for count in counts], note)
        if part is not None:
            inside = [count.inside for count in counts]
            found += _distribution("macs_executed_backbone", inside, note)
        return found

    def _count(self, inputs: torch.Tensor) -> Count:
        return count_pass(self._model, inputs, run=self._run)

    def _other_calls(self) -> bool:
        """Whether some test image runs other operations, or more often, than the first."""
        example = self._example(1)
        if not self._called(example).reads:
            return False
        images = (resized(image, example) for image in self.images.evenly(PROBED[0]))
        calls = [self._called(image).calls for image in images]
        return any(each != calls[0] for each in calls)

    def _called(self, inputs: torch.Tensor) -> OperationCounter:
        devices = [self._device] if self._device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices=devices),
            evaluating(self._model),
            OperationCounter(strict=False) as counter,
        ):
            self._run(self._model, inputs)
        return counter


def batch_cost(macs: Callable[[int], int]) -> BatchCost:
    """The cost of an image and of a pass, from those of three batches.

    Args:
        macs: multiply-adds of a batch of so many images.

    Raises:
        UserError: the three do not lie on a line, or on one that no pass can have.
    """
    one, two, three = counts = [macs(size) for size in SIZES]
    cost = BatchCost(two - one, 2 * one - two)
    if three - two != cost.each or cost.each < 0 or cost.per_pass < 0:
        listed = ", ".join(f"{count:,}" for count in counts)
        raise UserError(
            f"batches of 1, 2 and 3 images take {listed} multiply-adds, which is no cost per image "
            "plus one per forward pass: the network takes another path for some sizes of batch"
        )
    return cost


def _distribution(metric: str, counts: Sequence[int], note: str) -> list[Measurement]:
    return [Measurement(metric + suffix, of(counts), note) for suffix, of in DISTRIBUTION.items()]
