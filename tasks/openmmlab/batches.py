"""Batches of an mmdet or mmsegmentation data set that depend on seed, epoch and index alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader, Dataset


@contextmanager
def drawn_from(*seeds: int) -> Iterator[None]:
    """Seed the global generators that transforms draw from; restore their states at the end."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    first, second = (int(n) for n in np.random.SeedSequence(seeds).generate_state(2))
    random.seed(first)
    np.random.seed(second)
    torch.random.default_generator.manual_seed(first)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class Seeded(Dataset):
    """A data set indexed by (epoch, index): its random transforms draw the same for the same pair.

    Whatever process reads a sample, and whatever was read before it, the sample is the same.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self._dataset, self._seed = dataset, seed

    def __getitem__(self, key: tuple[int, int]) -> Any:
        with drawn_from(self._seed, *key):
            return self._dataset[key[1]]


class Order:
    """The batches of one epoch as lists of (epoch, index), set before each pass."""

    def __init__(self) -> None:
        self.batches: Sequence[Sequence[tuple[int, int]]] = ()

    def __iter__(self) -> Iterator[Sequence[tuple[int, int]]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class TrainBatches:
    """Shuffled training batches, as ``tasks.base.BatchSource`` says.

    The last, shorter batch of an epoch is left out, unless it is the only one.

    Args:
        dataset: an mmengine data set with its pipeline.
        batch_size: images in a batch.
        seed: decides order and augmentation, together with the epoch.
        workers: processes that read; 0 reads in this one.
        wide: for each image whether it is wider than high, where a batch shall hold images of one
            kind only, as mmdet's ``AspectRatioBatchSampler`` makes them; None mixes.
        pin: lay the images in pinned memory, from which a GPU copies while it computes.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        seed: int,
        workers: int = 0,
        wide: Sequence[bool] | None = None,
        pin: bool = False,
    ) -> None:
        self.dataset = dataset
        self._batch_size, self._seed, self._wide = batch_size, seed, wide
        self._order = Order()
        self._loader = DataLoader(
            Seeded(dataset, seed),
            batch_sampler=self._order,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin,
            collate_fn=pseudo_collate,
            # A generator of its own: making an iterator must not draw from the global one.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return max(1, len(self.dataset) // self._batch_size)

    def epoch(self, index: int, start: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of an epoch from ``start`` on."""
        self._order.batches = [
            [(index, image) for image in batch] for batch in self.indices(index)[start:]
        ]
        return iter(self._loader)

    def indices(self, epoch: int) -> list[list[int]]:
        """The images of every batch of an epoch."""
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self.dataset)).tolist()
        return group(order, self._batch_size, self._wide)[: len(self)]


def group(order: Sequence[int], size: int, wide: Sequence[bool] | None) -> list[list[int]]:
    """Cut an order into batches, of one aspect each where ``wide`` is given, leftovers last.

    A batch comes when it is full, so that the kinds stay mixed over the epoch.
    """
    batches: list[list[int]] = []
    buckets: dict[bool, list[int]] = {False: [], True: []}
    for image in order:
        bucket = buckets[wide is not None and bool(wide[image])]
        bucket.append(image)
        if len(bucket) == size:
            batches.append(bucket.copy())
            bucket.clear()
    left = buckets[False] + buckets[True]
    return batches + [left[start : start + size] for start in range(0, len(left), size)]


def evaluation_batches(
    dataset: Any, batch_size: int, workers: int = 0, pin: bool = False
) -> Iterator[dict[str, Any]]:
    """All images in their order."""
    return iter(
        DataLoader(
            dataset,
            batch_size=batch_size,
            num_workers=workers,
            pin_memory=pin,
            collate_fn=pseudo_collate,
            generator=torch.Generator(),
        )
    )
