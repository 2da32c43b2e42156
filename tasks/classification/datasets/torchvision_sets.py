"""The data sets that torchvision reads: found under the data root, or downloaded into it."""

from __future__ import annotations

import abc
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from torchvision import datasets as tv
from torchvision.datasets.utils import calculate_md5

from tasks.classification.datasets.base import DataSet
from tasks.classification.registry import DATASETS
from tasks.classification.splits import ArraySplit, channels_first
from tasks.errors import UserError

_PATIENCE_S = 30.0
_DAMAGED = (RuntimeError, ValueError, AssertionError, EOFError, OSError, KeyError, IndexError)


class TorchvisionSet(DataSet, abc.ABC):
    """A data set that torchvision verifies, unpacks and reads.

    What is unpacked already is read in place, from a read-only root too. Otherwise archives under
    the root are verified and unpacked, and absent ones are downloaded.
    """

    archives: ClassVar[dict[str, str]]
    """Paths under the data root to the md5 that torchvision expects."""

    @abc.abstractmethod
    def _open(self, train: bool, download: bool) -> tuple[np.ndarray, Any]:
        """Pixels, in any order of axes that ``channels_first`` takes, and labels."""

    def load(self) -> tuple[ArraySplit, ArraySplit]:
        """Both splits as torchvision has them, as uint8 in memory."""
        try:
            splits = self._read(download=False)
        except _DAMAGED:
            self._check_archives()
            self._check_writable()
            splits = self._fetch()
        train, test = (
            ArraySplit(np.ascontiguousarray(pixels), np.asarray(labels, np.int64))
            for pixels, labels in splits
        )
        return train, test

    def _read(self, download: bool) -> list[tuple[np.ndarray, Any]]:
        return [self._open(train, download) for train in (True, False)]

    def _fetch(self) -> list[tuple[np.ndarray, Any]]:
        name, root = type(self).__name__, self.data_root
        try:
            with _network_patience():
                return self._read(download=True)
        except _DAMAGED as error:
            present = [path for path in self.archives if (root / path).is_file()]
            if len(present) == len(self.archives):
                raise UserError(
                    f"{name} under {root} is damaged although its archives are whole ({error}): "
                    "delete the unpacked files beside them and run again"
                ) from error
            wanted = ", ".join(path for path in self.archives if path not in present)
            reason = str(error).strip().split("\n")[0]
            raise UserError(
                f"{name} is absent or not whole under {root} and cannot be downloaded ({reason}): "
                f"put {wanted} there, or name another folder by data_root or DEPTHBENCH_DATA"
            ) from error

    def _check_archives(self) -> None:
        for path, md5 in self.archives.items():
            archive = self.data_root / path
            if archive.is_file() and calculate_md5(archive) != md5:
                raise UserError(
                    f"{archive} is damaged (its md5 is not {md5}): delete it and run again to "
                    "download it, or copy a whole one there"
                )

    def _check_writable(self) -> None:
        try:
            self.data_root.mkdir(parents=True, exist_ok=True)
            probe = self.data_root / ".depthbench-write-test"
            probe.touch()
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"{type(self).__name__} must be unpacked under {self.data_root}, which cannot be "
                f"written to ({error.strerror}): name another folder by data_root or "
                "DEPTHBENCH_DATA"
            ) from error


@contextmanager
def _network_patience() -> Iterator[None]:
    """Let a download that hears nothing fail instead of hanging."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


class _IdxSet(TorchvisionSet):
    """MNIST and the sets in its format: 1x28x28, four gzipped idx files."""

    classes = 10
    channels = 1
    size = 28
    validation = 10_000
    reader: ClassVar[type[tv.MNIST]]

    def _open(self, train: bool, download: bool) -> tuple[np.ndarray, Any]:
        data = self.reader(self.data_root, train=train, download=download)
        return channels_first(data.data.numpy()), data.targets.numpy()


def _idx_archives(reader: type[tv.MNIST]) -> dict[str, str]:
    return {f"{reader.__name__}/raw/{name}": md5 for name, md5 in reader.resources}


@DATASETS.register("mnist")
class MNIST(_IdxSet):
    """Handwritten digits, 1x28x28, 60,000 + 10,000."""

    reader = tv.MNIST
    archives = _idx_archives(tv.MNIST)
    stats = ((0.1307,), (0.3081,))


@DATASETS.register("fashion_mnist")
class FashionMNIST(_IdxSet):
    """Photographs of clothes, 1x28x28, 60,000 + 10,000."""

    reader = tv.FashionMNIST
    class_names = tv.FashionMNIST.classes
    archives = _idx_archives(tv.FashionMNIST)
    stats = ((0.2860,), (0.3530,))


@DATASETS.register("kmnist")
class KMNIST(_IdxSet):
    """Cursive Japanese characters, 1x28x28, 60,000 + 10,000."""

    reader = tv.KMNIST
    archives = _idx_archives(tv.KMNIST)
    stats = ((0.1918,), (0.3483,))


@DATASETS.register("emnist_letters")
class EMNIST(TorchvisionSet):
    """Handwritten letters, 1x28x28, 26 classes, 124,800 + 20,800."""

    archives: ClassVar = {"EMNIST/raw/gzip.zip": tv.EMNIST.md5}
    classes = 26
    channels = 1
    size = 28
    stats = ((0.1307,), (0.3081,))
    validation = 20_800

    def _open(self, train: bool, download: bool) -> tuple[np.ndarray, Any]:
        data = tv.EMNIST(self.data_root, "letters", train=train, download=download)
        # The files number the letters from 1.
        return channels_first(data.data.numpy()), data.targets.numpy() - 1


@DATASETS.register("cifar10")
class CIFAR10(TorchvisionSet):
    """Tiny photographs, 3x32x32, 10 classes, 50,000 + 10,000."""

    reader: ClassVar[type[tv.CIFAR10]] = tv.CIFAR10
    archives: ClassVar = {tv.CIFAR10.filename: tv.CIFAR10.tgz_md5}
    classes = 10
    channels = 3
    size = 32
    stats = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    augment: ClassVar = {"pad": 4, "flip": True}
    validation = 5_000
    split = "first"

    def _open(self, train: bool, download: bool) -> tuple[np.ndarray, Any]:
        data = self.reader(self.data_root, train=train, download=download)
        return channels_first(data.data), data.targets


@DATASETS.register("cifar100")
class CIFAR100(CIFAR10):
    """Tiny photographs, 3x32x32, 100 classes, 50,000 + 10,000."""

    reader = tv.CIFAR100
    archives: ClassVar = {tv.CIFAR100.filename: tv.CIFAR100.tgz_md5}
    classes = 100
    stats = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))


@DATASETS.register("svhn")
class SVHN(TorchvisionSet):
    """House numbers, 3x32x32, 10 classes, 73,257 + 26,032."""

    archives: ClassVar = {
        name: md5 for k, (_, name, md5) in tv.SVHN.split_list.items() if k != "extra"
    }
    classes = 10
    channels = 3
    size = 32
    validation = 5_000

    def _open(self, train: bool, download: bool) -> tuple[np.ndarray, Any]:
        data = tv.SVHN(self.data_root, "train" if train else "test", download=download)
        return data.data, data.labels


@DATASETS.register("stl10")
class STL10(TorchvisionSet):
    """Photographs, 3x96x96, 10 classes, 5,000 + 8,000; the unlabelled ones are not used."""

    archives: ClassVar = {tv.STL10.filename: tv.STL10.tgz_md5}
    classes = 10
    channels = 3
    size = 96
    stats = ((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713))
    augment: ClassVar = {"pad": 12, "flip": True}
    validation = 500

    def _open(self, train: bool, download: bool) -> tuple[np.ndarray, Any]:
        data = tv.STL10(self.data_root, "train" if train else "test", download=download)
        return data.data, data.labels
