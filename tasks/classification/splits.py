"""Labelled images of one split in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

Stats = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation by channel, of pixels scaled to 0..1."""


@dataclass(frozen=True)
class ArraySplit:
    """Images in memory: (N, C, H, W) uint8 with (N,) int64 labels."""

    images: np.ndarray
    labels: np.ndarray
    origin: str = ""
    """A checksum of the files that all this is read from, where that is known."""

    def take(self, indices: np.ndarray) -> ArraySplit:
        """The images at ``indices``, in that order."""
        origin = ""
        if self.origin:
            chosen = np.ascontiguousarray(indices, np.int64).tobytes()
            origin = hashlib.sha256(self.origin.encode() + chosen).hexdigest()
        return ArraySplit(self.images[indices], self.labels[indices], origin)

    def digest(self) -> str:
        """The sha256 of shape, pixels and labels, or the checksum that they are known by."""
        if self.origin:
            return self.origin
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images))
        digest.update(np.ascontiguousarray(self.labels))
        return digest.hexdigest()

    def channel_stats(self) -> Stats:
        """Mean and standard deviation by channel, of pixels scaled to 0..1."""
        levels = np.arange(256) / 255
        means, deviations = [], []
        for channel in range(self.images.shape[1]):
            counts = np.bincount(self.images[:, channel].ravel(), minlength=256)
            mean = float(counts @ levels / counts.sum())
            means.append(mean)
            deviations.append(float(np.sqrt(counts @ (levels - mean) ** 2 / counts.sum())))
        return tuple(means), tuple(deviations)


def channels_first(images: np.ndarray) -> np.ndarray:
    """(N, H, W) or (N, H, W, C) uint8 pixels as contiguous (N, C, H, W)."""
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images)
