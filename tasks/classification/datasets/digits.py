"""The 8x8 digits that come with scikit-learn: real data on any machine."""

from __future__ import annotations

import numpy as np

from tasks.classification.datasets.base import DataSet
from tasks.classification.registry import DATASETS
from tasks.classification.splits import ArraySplit


@DATASETS.register("digits")
class Digits(DataSet):
    """Handwritten digits of scikit-learn, 1x8x8, 1,797 images; needs no files.

    There is no official split: every fifth image of each class is a test image.
    """

    classes = 10
    channels = 1
    size = 8
    stats = ((0.3053,), (0.3760,))

    def load(self) -> tuple[ArraySplit, ArraySplit]:
        """1,433 training and 364 test images, pixels scaled from 0..16 to 0..255."""
        from sklearn.datasets import load_digits

        raw = load_digits()
        images = np.rint(raw.images * (255 / 16)).astype(np.uint8)[:, None]
        labels = raw.target.astype(np.int64)
        held_out = np.zeros(len(labels), bool)
        for number in range(self.classes):
            held_out[np.flatnonzero(labels == number)[::5]] = True
        whole = ArraySplit(images, labels)
        return whole.take(np.flatnonzero(~held_out)), whole.take(np.flatnonzero(held_out))
