"""Training batches of images that lie in memory, on the device that trains.

Pixels stay uint8 where the network is. A batch is cut out of the padded images by one gather of
pixel rows, then mirrored and normalised as a whole: no worker, no copy from the host, no operation
for a single image, and on a GPU no synchronisation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.classification.splits import ArraySplit, Stats
from tasks.errors import UserError


@dataclass(frozen=True)
class Augment:
    """What is done to an image, in this order.

    Padding is black (pixel 0) and goes with a random crop back to the image's size; ``cutout``
    is the side of a square around a random pixel that is set to 0 after normalisation, cut off
    at the image's edge (DeVries and Taylor 2017, arXiv 1708.04552).
    """

    pad: int = 0
    flip: bool = False
    cutout: int = 0
    normalise: Stats | None = None

    def __post_init__(self) -> None:
        if min(self.pad, self.cutout) < 0:
            raise UserError("augment: pad and cutout are pixels, 0 or more")


@dataclass(frozen=True)
class Draws:
    """An epoch's random choices, one line an image in the order of training."""

    order: Tensor
    """(N,) image numbers."""
    top: Tensor
    """(N,) first row of the crop, 0 to 2 * pad; ``left`` likewise for columns."""
    left: Tensor
    flip: Tensor
    """(N,) bool."""
    row: Tensor
    """(N,) centre of the cutout; ``column`` likewise."""
    column: Tensor

    def to(self, device: torch.device) -> Draws:
        """The same on ``device``; the host does not wait for it."""
        return Draws(*(values.to(device, non_blocking=True) for values in vars(self).values()))

    def __getitem__(self, chosen: slice) -> Draws:
        return Draws(*(values[chosen] for values in vars(self).values()))


def draw(seed: int, epoch: int, images: int, size: int, augment: Augment) -> Draws:
    """The choices of one epoch; they depend on the arguments alone.

    All are always drawn, so that switching one augmentation off leaves the others as they were.
    """
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(images)
    top, left = random.integers(0, 2 * augment.pad + 1, (2, images))
    flip = random.random(images) < 0.5
    row, column = random.integers(0, size, (2, images))
    return Draws(*map(torch.from_numpy, (order, top, left, flip, row, column)))


class MemoryBatches:
    """The batches of a split in memory (a ``BatchSource``).

    The last, shorter batch of an epoch is left out, unless it is the only one.

    Args:
        split: (N, C, H, W) uint8 images and labels.
        augment: what is done to them.
        batch_size: images in a batch.
        seed: with the epoch's number, decides order and augmentation.
        device: where images are kept and batches made.
    """

    dataset = None

    def __init__(
        self,
        split: ArraySplit,
        augment: Augment,
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        images = F.pad(torch.from_numpy(split.images).to(device), (augment.pad,) * 4)
        self._shape = split.images.shape[1:]
        self._padded = images.shape[1:]
        size = self._shape[-1]
        # Every run of `size` bytes is a row that index_select copies whole: ten times as fast as
        # an index for each pixel, and no second copy of the images.
        self._rows = images.view(-1).as_strided((images.numel() - size + 1, size), (1, 1))
        self._row_offsets = self._window_rows().to(device)
        self._labels = torch.from_numpy(split.labels).to(device)
        self._augment = augment
        self._batch_size = batch_size
        self._seed = seed
        self._normalise = Normalise(augment.normalise, self._shape[0], device)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return max(1, len(self._labels) // self._batch_size)

    def epoch(self, index: int, start: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of epoch ``index`` from batch ``start`` on."""
        draws = draw(self._seed, index, len(self._labels), self._shape[-1], self._augment)
        draws = draws.to(self._labels.device)
        labels = self._labels.index_select(0, draws.order)
        for first in range(
            start * self._batch_size, len(self) * self._batch_size, self._batch_size
        ):
            chosen = slice(first, first + self._batch_size)
            yield {
                "inputs": self._make(draws[chosen]),
                "data_samples": labels[chosen],
                "index": draws.order[chosen],
            }

    def _make(self, draws: Draws) -> Tensor:
        channels, height, width = self._padded
        corner = draws.order * (channels * height * width) + draws.top * width + draws.left
        rows = corner[:, None] + self._row_offsets
        pixels = self._rows.index_select(0, rows.view(-1)).view(-1, *self._shape)
        if self._augment.flip:
            # pixels ^ (pixels ^ mirrored) is mirrored: a select that runs on whole vectors, which
            # torch.where with a condition for each image does not.
            mask = draws.flip.to(torch.uint8).neg_().view(-1, 1, 1, 1)
            pixels ^= (pixels ^ pixels.flip(3)) & mask
        inputs = self._normalise(pixels)
        if self._augment.cutout:
            size = self._shape[-1]
            rows_hit = _inside(draws.row, self._augment.cutout, size)[:, None, :, None]
            columns_hit = _inside(draws.column, self._augment.cutout, size)[:, None, None, :]
            inputs.masked_fill_(rows_hit & columns_hit, 0)
        return inputs

    def _window_rows(self) -> Tensor:
        """(C * H,) where the rows of a window begin, counted from its first pixel."""
        _, height, width = self._padded
        planes = torch.arange(self._shape[0]) * (height * width)
        return (planes[:, None] + torch.arange(self._shape[1]) * width).view(-1)


class Normalise:
    """(N, C, H, W) uint8 pixels to float32, by channel; ``(x / 255 - mean) / deviation``."""

    def __init__(self, stats: Stats | None, channels: int, device: torch.device) -> None:
        mean, deviation = stats or ((0.0,) * channels, (1.0,) * channels)
        shape = (1, channels, 1, 1)
        scale = 1 / (255 * np.asarray(deviation, np.float64))
        shift = -np.asarray(mean, np.float64) * 255 * scale
        self._scale = torch.tensor(scale, dtype=torch.float32, device=device).view(shape)
        self._shift = torch.tensor(shift, dtype=torch.float32, device=device).view(shape)

    def __call__(self, pixels: Tensor) -> Tensor:
        """A new float32 tensor; ``pixels`` stay as they are."""
        return pixels.float().mul_(self._scale).add_(self._shift)


def evaluation_batches(
    split: ArraySplit, stats: Stats | None, batch_size: int, device: torch.device
) -> Iterator[dict[str, Any]]:
    """The images of ``split`` in order, normalised; the last batch may be shorter.

    Only a batch at a time lies on the device, so that evaluation adds little to peak memory.
    """
    normalise = Normalise(stats, split.images.shape[1], device)
    images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
    for first in range(0, len(labels), batch_size):
        chosen = slice(first, first + batch_size)
        inputs = normalise(images[chosen].to(device))
        yield {"inputs": inputs, "data_samples": labels[chosen].to(device)}


def _inside(centre: Tensor, side: int, size: int) -> Tensor:
    """(N, size) bool: positions in the window of length ``side`` around ``centre``."""
    first = centre[:, None] - side // 2
    position = torch.arange(size, device=centre.device)
    return (position >= first) & (position < first + side)
