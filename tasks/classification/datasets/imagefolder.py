"""ImageNet and whatever else lies in ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from tasks.base import BatchSource
from tasks.classification.datasets.base import DataSet
from tasks.classification.folder import (
    FolderAugment,
    FolderBatches,
    FolderSplit,
    evaluation_batches,
)
from tasks.classification.registry import DATASETS
from tasks.errors import UserError
from tasks.files.contents import contents
from tasks.files.listing import folders, pictures


@DATASETS.register("imagefolder")
class ImageFolder(DataSet):
    """Folders train/CLASS and val/CLASS of pictures; options root, image_size, workers.

    ``val`` is the test split, as ImageNet's test labels are not public; validation images are
    taken from ``train``.

    Args:
        data_root: the folder of all data sets.
        root: the folder of ``train`` and ``val``; a relative path starts at ``data_root``.
        image_size: side in pixels that pictures are cut to.
        workers: processes that decode pictures.
    """

    channels = 3
    stats = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    augment_type = FolderAugment
    folder: ClassVar[str] = ""

    def __init__(
        self, data_root: Path, root: str | None = None, image_size: int = 224, workers: int = 2
    ) -> None:
        super().__init__(data_root)
        self._folder = data_root / Path(self.folder if root is None else root).expanduser()
        self._size = image_size
        self._workers = workers

    @property
    def size(self) -> int:
        """Side in pixels that pictures are cut to."""
        return self._size

    @property
    def classes(self) -> int:
        """Number of folders under ``train``."""
        return len(self.class_names)

    def load(self) -> tuple[FolderSplit, FolderSplit]:
        """The pictures of ``train`` and of ``val``, by path."""
        if len(self.class_names) != self.classes:
            raise UserError(
                f"{self._folder / 'train'} has {len(self.class_names)} class folders, not "
                f"{self.classes}: complete it, or use the data set imagefolder"
            )
        return self._pictures("train"), self._pictures("val")

    def batches(
        self, split: FolderSplit, augment: Any, batch_size: int, seed: int, device: torch.device
    ) -> BatchSource:
        """The training batches of ``split``, read by worker processes."""
        return FolderBatches(split, augment, self.size, batch_size, seed, device, self._workers)

    def evaluation(
        self, split: FolderSplit, augment: Any, batch_size: int, device: torch.device
    ) -> Iterator[dict[str, Any]]:
        """All pictures of ``split`` in order, resized, centre-cropped and normalised."""
        return evaluation_batches(
            split, augment.normalise, self.size, batch_size, device, self._workers
        )

    @cached_property
    def class_names(self) -> list[str]:
        """Names of the folders under ``train``, sorted."""
        return self._folders("train")

    def _folders(self, split: str) -> list[str]:
        folder = self._folder / split
        names = folders(folder) if folder.is_dir() else []
        if not names:
            raise UserError(
                f"{folder} holds no class folders: name the folder of train/ and val/ by the data "
                "set's root"
            )
        return names

    def _pictures(self, split: str) -> FolderSplit:
        names = self._folders(split)
        for name in names:
            if name not in self.class_names:
                raise UserError(
                    f"{self._folder / split} has the class {name}, which train/ has not: "
                    "remove it, or sort the pictures into the classes of train/"
                )
        paths: list[str] = []
        labels: list[int] = []
        for number, name in enumerate(self.class_names):
            if name not in names:
                raise UserError(
                    f"{self._folder / split} lacks the class {name}, which train/ has: add a "
                    "folder of its pictures, or remove the class from train/"
                )
            found = pictures(self._folder / split / name)
            if not found:
                raise UserError(f"{self._folder / split / name} holds no pictures: add some")
            paths += [f"{split}/{name}/{path}" for path in found]
            labels += [number] * len(found)
        sha256 = [found.sha256 for found in contents(self._folder, paths, "picture").values()]
        columns = np.asarray(paths), np.asarray(labels, np.int64), np.asarray(sha256)
        return FolderSplit(self._folder, *columns)


@DATASETS.register("imagenet")
class ImageNet(ImageFolder):
    """ImageNet-1k in folders train/ and val/ under DATA_ROOT/imagenet or the option root."""

    classes = 1000
    folder = "imagenet"
    validation = 10_000
