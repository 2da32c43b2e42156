"""Batches of pictures that lie in folders, decoded and augmented by worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from tasks.classification.memory import Normalise
from tasks.classification.splits import Stats
from tasks.errors import UserError, unknown_name
from tasks.files.contents import digest_of
from tasks.files.decoding import rgb

_RESIZE_RATIO = 256 / 224
POLICIES: Mapping[str, Callable[[], list[Any]]] = {
    "none": list,
    "randaugment": lambda: [v2.RandAugment()],
    "trivialaugment": lambda: [v2.TrivialAugmentWide()],
}
"""Augmentation policies of pictures in folders."""


@dataclass(frozen=True)
class FolderAugment:
    """A random crop of ``scale`` (shares of the area) resized to the image size, then the rest."""

    scale: tuple[float, float] = (0.08, 1.0)
    flip: bool = True
    policy: str = "none"
    """``randaugment``, two operations of magnitude 9 (Cubuk et al. 2020, arXiv 1909.13719), or
    ``trivialaugment``, one of any magnitude (Müller and Hutter 2021, arXiv 2103.10158)."""
    erase: float = 0.0
    """Share of pictures in which a rectangle is replaced by the data set's mean (Zhong et al. 2020,
    arXiv 1708.04896)."""
    normalise: Stats | None = None

    def __post_init__(self) -> None:
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UserError("augment: scale is two shares of the area, such as [0.08, 1.0]")
        if self.policy not in POLICIES:
            raise unknown_name("augment policy", self.policy, list(POLICIES))
        if not 0 <= self.erase <= 1:
            raise UserError(f"augment: erase is a share of the pictures, not {self.erase}")


@dataclass(frozen=True)
class FolderSplit:
    """Pictures by path under ``root``, with (N,) int64 labels."""

    root: Path
    paths: np.ndarray
    """(N,) str, relative to ``root``."""
    labels: np.ndarray
    sha256: np.ndarray
    """(N,) str, of each file's content."""

    def take(self, indices: np.ndarray) -> FolderSplit:
        """The pictures at ``indices``, in that order."""
        chosen = (values[indices] for values in (self.paths, self.labels, self.sha256))
        return FolderSplit(self.root, *chosen)

    def digest(self) -> str:
        """The sha256 of paths, contents and labels."""
        columns = (self.paths.tolist(), self.sha256.tolist(), self.labels.tolist())
        return digest_of(list(zip(*columns, strict=True)))

    def checksums(self) -> dict[str, str]:
        """The sha256 of every picture by its path."""
        return dict(zip(self.paths.tolist(), self.sha256.tolist(), strict=True))

    def picture(self, index: int) -> Image.Image:
        """The picture at ``index`` in RGB.

        Raises:
            UserError: the file is damaged.
        """
        return rgb(self.root / self.paths[index])


class FolderBatches:
    """Training batches of pictures in folders (a ``BatchSource``).

    Each picture's augmentation is drawn from (seed, epoch, picture), whichever worker reads it, so
    that an epoch entered in the middle continues as it would have. The last, shorter batch is left
    out, unless it is the only one.
    """

    dataset = None

    def __init__(
        self,
        split: FolderSplit,
        augment: FolderAugment,
        image_size: int,
        batch_size: int,
        seed: int,
        device: torch.device,
        workers: int,
    ) -> None:
        self._images = len(split.labels)
        self._pictures = _Augmented(split, _training_transform(augment, image_size), seed)
        self._batch_size = batch_size
        self._seed = seed
        self._device = device
        self._workers = workers
        self._normalise = Normalise(augment.normalise, 3, device)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return max(1, self._images // self._batch_size)

    def epoch(self, index: int, start: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of epoch ``index`` from batch ``start`` on."""
        order = np.random.default_rng((self._seed, index)).permutation(self._images)
        chosen = (
            [(index, picture) for picture in order[n * self._batch_size :][: self._batch_size]]
            for n in range(start, len(self))
        )
        batches = load(self._pictures, chosen, self._normalise, self._device, self._workers)
        for number, batch in enumerate(batches, start):
            pictures = order[number * self._batch_size :][: self._batch_size]
            yield {**batch, "index": torch.from_numpy(pictures).to(self._device)}


def evaluation_batches(
    split: FolderSplit,
    stats: Stats | None,
    image_size: int,
    batch_size: int,
    device: torch.device,
    workers: int,
) -> Iterator[dict[str, Any]]:
    """All pictures in order, shorter side resized to 256/224 of the image size, centre cut out."""
    transform = v2.Compose(
        [v2.Resize(round(image_size * _RESIZE_RATIO)), v2.CenterCrop(image_size), v2.PILToTensor()]
    )
    pictures = _Plain(split, transform)
    images = range(len(split.labels))
    chosen = (images[first : first + batch_size] for first in images[::batch_size])
    return load(pictures, chosen, Normalise(stats, 3, device), device, workers)


def load(
    pictures: Dataset[tuple[Tensor, int]],
    chosen: Iterable[Any],
    normalise: Normalise,
    device: torch.device,
    workers: int,
) -> Iterator[dict[str, Any]]:
    """Batches of ``pictures`` on ``device``; they travel as uint8 and are normalised there."""
    loader: Iterable[tuple[Tensor, Tensor]] = DataLoader(
        pictures,
        batch_sampler=chosen,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        # A generator of its own: the loader must not draw from the model's.
        generator=torch.Generator(),
    )
    for pixels, labels in loader:
        inputs = normalise(pixels.to(device, non_blocking=True))
        yield {"inputs": inputs, "data_samples": labels.to(device, non_blocking=True)}


class _Plain(Dataset[tuple[Tensor, int]]):
    def __init__(self, split: FolderSplit, transform: Any) -> None:
        self._split = split
        self._transform = transform

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._split.picture(index)), int(self._split.labels[index])


class _Augmented(Dataset[tuple[Tensor, int]]):
    def __init__(self, split: FolderSplit, transform: Any, seed: int) -> None:
        self._split = split
        self._transform = transform
        self._seed = seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, index = key
        seed = np.random.SeedSequence((self._seed, epoch, int(index))).generate_state(1)[0]
        picture = self._split.picture(index)
        # Transforms draw from torch's global generator, which without workers is the model's.
        state = torch.get_rng_state()
        torch.default_generator.manual_seed(int(seed))
        try:
            return self._transform(picture), int(self._split.labels[index])
        finally:
            torch.set_rng_state(state)


def _training_transform(augment: FolderAugment, image_size: int) -> v2.Compose:
    steps: list[Any] = [v2.RandomResizedCrop(image_size, scale=tuple(augment.scale))]
    if augment.flip:
        steps.append(v2.RandomHorizontalFlip())
    steps += [*POLICIES[augment.policy](), v2.PILToTensor()]
    if augment.erase:
        mean = augment.normalise[0] if augment.normalise else (0.0, 0.0, 0.0)
        steps.append(v2.RandomErasing(augment.erase, value=[round(255 * each) for each in mean]))
    return v2.Compose(steps)
