"""Real test images as networks take them, for costs that depend on the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from torch.nn import functional
from torch.utils._pytree import tree_map_only

from tasks.pictures import spread

TIMED = 64
"""Images that passes are timed on, or 8 batches of larger ones."""


class RealImages:
    """Test images, prepared by the model's own preprocessing.

    Args:
        count: gives their number.
        read: gives the images of some indices, each as a raw batch of one.
        model: the network that they are for.
        device: where it is.
    """

    def __init__(
        self,
        count: Callable[[], int],
        read: Callable[[Sequence[int]], Iterator[Mapping[str, Any]]],
        model: BaseModel,
        device: torch.device,
    ) -> None:
        self._count, self._read, self._model, self._device = count, read, model, device

    def __len__(self) -> int:
        return self._count()

    def evenly(self, most: int) -> Iterator[torch.Tensor]:
        """All images, or ``most`` of them evenly spread, each as a batch of one."""
        for batch in self._read(spread(len(self), most)):
            yield self._prepared(batch)

    def batches(self, size: int) -> list[torch.Tensor]:
        """Batches of different images, in an order that makes the first few as good as any.

        There are at least one and at most ``TIMED`` images' worth or 8 batches of them, on the
        device; a test set smaller than a batch fills it by repetition.
        """
        raw = list(self._read(spread(len(self), max(TIMED, 8 * size))))
        order = np.random.default_rng(0).permutation(len(raw))
        order = np.resize(order, max(size, len(raw) // size * size))
        return [
            self._prepared(_together([raw[index] for index in order[first : first + size]]))
            for first in range(0, len(order), size)
        ]

    @torch.no_grad()
    def _prepared(self, batch: Mapping[str, Any]) -> torch.Tensor:
        data: Any = self._model.data_preprocessor(dict(batch), False)
        return tree_map_only(torch.Tensor, lambda t: t.to(self._device), data["inputs"])


def resized(image: torch.Tensor, example: torch.Tensor) -> torch.Tensor:
    """A picture (1, C, H, W) in the size of another; what is no picture stays as it is."""
    if not isinstance(image, torch.Tensor):
        return image
    if image.dim() != 4 or not image.is_floating_point() or image.shape == example.shape:
        return image
    return functional.interpolate(image, example.shape[2:], mode="bilinear", antialias=True)


def _together(batches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One batch of several."""
    if len(batches) == 1:
        return dict(batches[0])
    found = {}
    for key, first in batches[0].items():
        values = [batch[key] for batch in batches]
        if isinstance(first, torch.Tensor):
            found[key] = torch.cat(values)
        elif isinstance(first, tuple):
            found[key] = tuple(map(torch.cat, zip(*values, strict=True)))
        else:
            found[key] = [each for value in values for each in value]
    return found
