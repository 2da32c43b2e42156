"""Arrays in ``.npy`` files: any small data set, without a reader of its own."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from tasks.classification.datasets.base import DataSet
from tasks.classification.registry import DATASETS
from tasks.classification.splits import ArraySplit, Stats, channels_first
from tasks.errors import UserError
from tasks.files.contents import contents, digest_of


@DATASETS.register("npy")
class Npy(DataSet):
    """Four .npy files of images (N,H,W[,C] uint8) and labels; options root, classes, file names.

    The classes are those that occur, and normalisation is by the training images' own mean and
    deviation, unless the suite file says otherwise.

    Args:
        data_root: the folder of all data sets.
        root: the folder of the files; a relative path starts at ``data_root``.
        train_images: file name, or a path; likewise the other three.
        train_labels: (N,) integers from 0.
        test_images: as ``train_images``.
        test_labels: as ``train_labels``.
        classes: number of classes, where more exist than occur.
    """

    def __init__(
        self,
        data_root: Path,
        root: str = "",
        train_images: str = "train_images.npy",
        train_labels: str = "train_labels.npy",
        test_images: str = "test_images.npy",
        test_labels: str = "test_labels.npy",
        classes: int | None = None,
    ) -> None:
        super().__init__(data_root)
        self._folder = data_root / Path(root).expanduser()
        self._files = ((train_images, train_labels), (test_images, test_labels))
        self._classes = classes

    @cached_property
    def _splits(self) -> tuple[ArraySplit, ArraySplit]:
        (train_images, train_labels), (test_images, test_labels) = self._files
        train = self._read(train_images, train_labels)
        test = self._read(test_images, test_labels)
        if train.images.shape[1:] != test.images.shape[1:]:
            raise UserError(
                f"{self._folder}: training images are {train.images.shape[1:]} but test images "
                f"{test.images.shape[1:]} (channels, height, width); make them the same"
            )
        return train, test

    def load(self) -> tuple[ArraySplit, ArraySplit]:
        """Both splits, checked for shape, type and labels."""
        for split in self._splits:
            if split.labels.max() >= self.classes:
                raise UserError(
                    f"{self._folder}: label {split.labels.max()} does not fit {self.classes} "
                    "classes; correct the option 'classes' or the labels"
                )
        return self._splits

    @property
    def classes(self) -> int:
        """The option, or one more than the largest label."""
        return self._classes or int(max(split.labels.max() for split in self._splits)) + 1

    @property
    def channels(self) -> int:
        """Channels of the training images."""
        return self._splits[0].images.shape[1]

    @property
    def size(self) -> int:
        """Side of the training images."""
        return self._splits[0].images.shape[2]

    @cached_property
    def stats(self) -> Stats:
        """Mean and deviation of the training split."""
        return self._splits[0].channel_stats()

    def _read(self, images_file: str, labels_file: str) -> ArraySplit:
        images, labels = self._array(images_file), self._array(labels_file)
        path = self._folder / images_file
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise UserError(
                f"{path} holds {images.dtype} of shape {images.shape}: save it as uint8 "
                "(N, H, W) or (N, H, W, C)"
            )
        if images.shape[1] != images.shape[2]:
            raise UserError(f"{path} holds images of {images.shape[1:3]}: make them square")
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images):
            raise UserError(
                f"{self._folder / labels_file} holds {labels.dtype} of shape {labels.shape}: "
                f"save one integer for each of the {len(images)} images"
            )
        if not len(labels) or labels.min() < 0:
            raise UserError(f"{self._folder / labels_file} must hold labels from 0 upwards")
        origin = digest_of([(self._checksum(images_file), self._checksum(labels_file))])
        return ArraySplit(channels_first(images), labels.astype(np.int64), origin)

    def _checksum(self, name: str) -> str:
        path = self._folder / name
        return contents(path.parent, [path.name])[path.name].sha256

    def _array(self, name: str) -> np.ndarray:
        path = self._folder / name
        try:
            return np.load(path)
        except FileNotFoundError as error:
            raise UserError(
                f"{path} does not exist: set the data set's root to the folder of the .npy files"
            ) from error
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{path} cannot be read as a .npy file: {error}") from error
