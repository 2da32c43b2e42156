"""Images per second of the in-memory batches and of a Dataset with a DataLoader."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from tasks.classification.memory import Augment, MemoryBatches
from tasks.classification.splits import ArraySplit

MEAN, DEVIATION = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
IMAGES, BATCH, PAD, WORKERS = 20_000, 128, 4, 2


class Images(Dataset):
    """One image at a time through torchvision's transforms, as tutorials do."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self._images, self._labels = torch.from_numpy(images), labels
        self._transform = v2.Compose(
            [
                v2.RandomCrop(images.shape[-1], padding=PAD),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, DEVIATION),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._transform(self._images[index]), int(self._labels[index])


def data_paths(case: dict[str, Any], report: Any) -> dict[str, float]:
    """Images per second of both paths: pad 4, crop, flip, normalise on 3x32x32 images.

    The pixels are random: neither path looks at them.
    """
    torch.set_num_threads(case["threads"])
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (IMAGES, 3, 32, 32), dtype=np.uint8)
    labels = random.integers(0, 10, IMAGES)
    augment = Augment(pad=PAD, flip=True, normalise=(MEAN, DEVIATION))
    memory = MemoryBatches(ArraySplit(images, labels), augment, BATCH, 0, torch.device("cpu"))
    loader = DataLoader(
        Images(images, labels), BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True
    )
    return {
        "memory": images_per_second(
            lambda epoch: (batch["inputs"] for batch in memory.epoch(epoch))
        ),
        "loader": images_per_second(lambda epoch: (inputs for inputs, _ in loader)),
    }


def images_per_second(epoch: Callable[[int], Iterable[Any]]) -> float:
    """Of the second epoch: the first starts the workers."""
    for number in range(2):
        started, images = time.perf_counter(), 0
        for inputs in epoch(number):
            images += len(inputs)  # the last batch may be shorter
    return images / (time.perf_counter() - started)
