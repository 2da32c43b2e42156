"""What a data set is: its constants, its two splits, and how batches are made of them."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from tasks.base import BatchSource
from tasks.classification.memory import Augment, MemoryBatches, evaluation_batches
from tasks.classification.splits import Stats
from tasks.errors import UserError
from tasks.registry import build


class DataSet(abc.ABC):
    """One data set under a data root; constants first, pixels only on request.

    The constants let a network be built and costed where the images are not.

    Args:
        data_root: the folder that all data sets lie under.
    """

    augment_type: ClassVar[type] = Augment
    augment: ClassVar[dict[str, Any]] = {}
    """Default augmentation, apart from normalisation."""
    validation: ClassVar[int | float] = 0.1
    """What of the training split is kept for validation: a count, or a fraction below 1."""
    split: ClassVar[str] = "random"
    """``random`` (drawn by the split seed) or ``first`` (the training split's end is held out)."""

    def __init__(self, data_root: Path) -> None:
        self.data_root = data_root

    @property
    @abc.abstractmethod
    def classes(self) -> int:
        """Number of classes."""

    @property
    def class_names(self) -> Sequence[str]:
        """What the classes are called in pictures: their numbers, where they have no name."""
        return [str(number) for number in range(self.classes)]

    @property
    @abc.abstractmethod
    def channels(self) -> int:
        """Colour channels of an image."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Height and width in pixels."""

    @property
    def stats(self) -> Stats | None:
        """Normalisation; None leaves pixels in 0..1."""
        return None

    @abc.abstractmethod
    def load(self) -> tuple[Any, Any]:
        """The training and the test split.

        Raises:
            UserError: the files are absent and cannot be had, or they are damaged.
        """

    def augmentation(self, changes: Mapping[str, Any]) -> Any:
        """The data set's augmentation with ``changes``.

        Raises:
            UserError: an option is unknown or senseless.
        """
        options = {**self.augment, "normalise": self.stats, **changes}
        options["normalise"] = self._normalise(options["normalise"])
        return build("augment", self.augment_type, options)

    def batches(
        self, split: Any, augment: Any, batch_size: int, seed: int, device: torch.device
    ) -> BatchSource:
        """The training batches of ``split``."""
        return MemoryBatches(split, augment, batch_size, seed, device)

    def evaluation(
        self, split: Any, augment: Any, batch_size: int, device: torch.device
    ) -> Iterator[dict[str, Any]]:
        """All images of ``split`` in order, normalised only."""
        return evaluation_batches(split, augment.normalise, batch_size, device)

    def _normalise(self, given: Stats | Mapping[str, Any] | None) -> Stats | None:
        if isinstance(given, Mapping):
            if given.keys() != {"mean", "std"}:
                raise UserError("augment: normalise takes mean and std, or null")
            given = (tuple(given["mean"]), tuple(given["std"]))
        if given is not None and {len(values) for values in given} != {self.channels}:
            raise UserError(
                f"augment: normalise needs {self.channels} values for each of mean and std"
            )
        return given
