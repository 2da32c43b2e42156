"""Batches depend on seed, epoch and index alone, and hold images of one aspect where asked."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.openmmlab.batches import TrainBatches, drawn_from, group


class Drawing:
    """A data set whose samples draw from every global generator, as transforms do."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> dict[str, object]:
        drawn = (random.random(), float(np.random.rand()), float(torch.rand(())))
        return {"inputs": torch.tensor([index, *drawn], dtype=torch.float64)}


def drawn(source: TrainBatches, epoch: int, start: int = 0) -> list[list[list[float]]]:
    return [[x.tolist() for x in batch["inputs"]] for batch in source.epoch(epoch, start)]


def test_an_epoch_can_start_anywhere_and_whatever_ran_before() -> None:
    source = TrainBatches(Drawing(10), 3, seed=5)
    whole = drawn(source, 2)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    fresh = TrainBatches(Drawing(10), 3, seed=5)
    next(iter(fresh.epoch(0)))
    assert drawn(fresh, 2, start=1) == whole[1:]
    assert len(whole) == len(source) == 3


def test_epochs_and_seeds_differ_in_order_and_in_draws() -> None:
    source = TrainBatches(Drawing(12), 4, seed=5)
    first, second = drawn(source, 0), drawn(source, 1)
    other = drawn(TrainBatches(Drawing(12), 4, seed=6), 0)
    flat = [sorted(x for batch in each for x in batch) for each in (first, second, other)]
    assert [[x[0] for x in each] for each in flat] == [list(map(float, range(12)))] * 3
    assert len({x[1] for each in flat for x in each}) == 36


def test_reader_processes_give_the_same_samples() -> None:
    here = TrainBatches(Drawing(8), 2, seed=3)
    there = TrainBatches(Drawing(8), 2, seed=3, workers=2)
    for epoch in (0, 1):
        assert drawn(there, epoch) == drawn(here, epoch)


def test_reading_leaves_the_global_generators_alone() -> None:
    source = TrainBatches(Drawing(6), 2, seed=3)
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    expected = (random.random(), np.random.rand(), torch.rand(()).item())
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    drawn(source, 0)
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected


def test_draws_come_from_all_seeds_together() -> None:
    seen = set()
    for seeds in ((0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 1, 3)):
        with drawn_from(*seeds):
            seen.add((random.random(), float(np.random.rand()), float(torch.rand(()))))
    assert len(seen) == 4


@given(
    wide=st.lists(st.booleans(), min_size=1, max_size=40),
    size=st.integers(1, 7),
    mixed=st.booleans(),
)
def test_batches_hold_every_image_once_and_one_aspect_where_asked(
    wide: list[bool], size: int, mixed: bool
) -> None:
    order = list(np.random.default_rng(len(wide)).permutation(len(wide)))
    batches = group(order, size, None if mixed else wide)
    assert Counter(i for batch in batches for i in batch) == Counter(range(len(wide)))
    assert all(len(batch) == size for batch in batches[:-1])
    if mixed:
        assert [i for batch in batches for i in batch] == order
    else:
        # The leftovers of both kinds, fewer than two batches, may share one.
        assert sum(len({wide[i] for i in batch}) > 1 for batch in batches) <= 1


def test_fewer_images_than_a_batch_make_one_batch() -> None:
    source = TrainBatches(Drawing(3), 8, seed=0)
    assert len(source) == 1
    assert [len(batch) for batch in drawn(source, 0)] == [3]
