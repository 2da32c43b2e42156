"""Batches whose masks are checked as they are loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tasks.base import BatchSource
from tasks.segmentation.cityscapes import check_labels


class CheckedBatches:
    """Training batches, each refused where a mask holds a label that is no class.

    Args:
        source: the batches.
        classes: the number of classes.
    """

    def __init__(self, source: BatchSource, classes: int) -> None:
        self._source, self._classes = source, classes
        self.dataset = source.dataset

    def __len__(self) -> int:
        return len(self._source)

    def epoch(self, index: int, start: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of an epoch from ``start`` on."""
        return checked(self._source.epoch(index, start), self._classes)


def checked(batches: Iterable[dict[str, Any]], classes: int) -> Iterator[dict[str, Any]]:
    """The same batches.

    Raises:
        UserError: a mask holds a label that is neither a class nor void; names its file.
    """
    for batch in batches:
        for sample in batch["data_samples"]:
            check_labels(sample.gt_sem_seg.data.numpy(), sample.seg_map_path, classes)
        yield batch
