from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.classification.memory import Augment, MemoryBatches, draw, evaluation_batches
from tasks.classification.splits import ArraySplit

CPU = torch.device("cpu")


def random_split(images: int, channels: int, size: int) -> ArraySplit:
    random = np.random.default_rng(5)
    pixels = random.integers(0, 256, (images, channels, size, size), dtype=np.uint8)
    return ArraySplit(pixels, np.arange(images) % 7)


def naive_epoch(split: ArraySplit, augment: Augment, seed: int, epoch: int) -> torch.Tensor:
    """One image at a time, one pixel operation after the other."""
    size = split.images.shape[-1]
    draws = draw(seed, epoch, len(split.labels), size, augment)
    images = []
    for i, number in enumerate(draws.order.tolist()):
        top, left = int(draws.top[i]), int(draws.left[i])
        image = F.pad(torch.from_numpy(split.images[number]), (augment.pad,) * 4)
        image = image[:, top : top + size, left : left + size]
        if augment.flip and draws.flip[i]:
            image = image.flip(2)
        image = image.double() / 255
        if augment.normalise:
            mean, std = (
                torch.tensor(v, dtype=torch.float64)[:, None, None] for v in augment.normalise
            )
            image = (image - mean) / std
        if augment.cutout:
            for y in range(size):
                for x in range(size):
                    dy = y - int(draws.row[i]) + augment.cutout // 2
                    dx = x - int(draws.column[i]) + augment.cutout // 2
                    if 0 <= dy < augment.cutout and 0 <= dx < augment.cutout:
                        image[:, y, x] = 0
        images.append(image)
    return torch.stack(images)


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 3),
    size=st.integers(3, 9),
    pad=st.integers(0, 3),
    flip=st.booleans(),
    cutout=st.integers(0, 5),
    normalise=st.booleans(),
    seed=st.integers(0, 2**40),
)
def test_batches_equal_an_image_by_image_loop(
    channels: int, size: int, pad: int, flip: bool, cutout: int, normalise: bool, seed: int
) -> None:
    split = random_split(13, channels, size)
    stats = ((0.4, 0.5, 0.3)[:channels], (0.2, 0.3, 0.25)[:channels]) if normalise else None
    augment = Augment(pad, flip, cutout, stats)
    batches = list(MemoryBatches(split, augment, 4, seed, CPU).epoch(2))
    expected = naive_epoch(split, augment, seed, 2)[:12]
    got = torch.cat([b["inputs"] for b in batches])
    assert got.dtype == torch.float32
    assert torch.equal((got == 0), (expected == 0)) or normalise
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=2e-6)
    labels = torch.cat([b["data_samples"] for b in batches])
    order = draw(seed, 2, 13, size, augment).order[:12]
    assert torch.equal(labels, torch.from_numpy(split.labels)[order])


def test_unnormalised_pixels_are_exact() -> None:
    split = random_split(40, 3, 8)
    augment = Augment(pad=2, flip=True)
    got = torch.cat([b["inputs"] for b in MemoryBatches(split, augment, 10, 0, CPU).epoch(0)])
    assert torch.equal(
        (got * 255).round(), (naive_epoch(split, augment, 0, 0) * 255).round().float()
    )
    assert torch.equal(got, (got * 255).round() * torch.tensor(1 / 255))


def test_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    split = random_split(32, 1, 6)
    augment = Augment(pad=1, flip=True, cutout=2)

    def inputs(seed: int, epoch: int) -> torch.Tensor:
        torch.rand(7)
        source = MemoryBatches(split, augment, 8, seed, CPU)
        list(source.epoch(0))
        return torch.cat([b["inputs"] for b in source.epoch(epoch)])

    assert torch.equal(inputs(1, 3), inputs(1, 3))
    assert not torch.equal(inputs(1, 3), inputs(1, 4))
    assert not torch.equal(inputs(1, 3), inputs(2, 3))


def test_batches_leave_the_global_generators_alone() -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    list(MemoryBatches(random_split(16, 1, 4), Augment(1, True, 1), 4, 0, CPU).epoch(0))
    assert (torch.rand(1), np.random.rand()) == expected


@pytest.mark.parametrize("start", [0, 1, 3, 4])
def test_starting_at_a_batch_equals_slicing(start: int) -> None:
    source = MemoryBatches(random_split(34, 3, 5), Augment(2, True, 2), 8, 7, CPU)
    whole = list(source.epoch(5))
    part = list(source.epoch(5, start))
    assert len(whole) == 4
    assert len(part) == 4 - start
    for a, b in zip(whole[start:], part, strict=True):
        assert torch.equal(a["inputs"], b["inputs"])
        assert torch.equal(a["data_samples"], b["data_samples"])


@pytest.mark.parametrize(
    ("images", "batch", "sizes"), [(10, 4, [4, 4]), (7, 4, [4]), (4, 4, [4]), (3, 4, [3])]
)
def test_the_short_batch_is_left_out_unless_it_is_the_only_one(
    images: int, batch: int, sizes: list[int]
) -> None:
    source = MemoryBatches(random_split(images, 1, 4), Augment(), batch, 0, CPU)
    assert [len(b["data_samples"]) for b in source.epoch(0)] == sizes
    assert len(source) == len(sizes)


def test_an_epoch_shows_every_image_once() -> None:
    split = ArraySplit(np.zeros((24, 1, 4, 4), np.uint8), np.arange(24))
    source = MemoryBatches(split, Augment(), 8, 0, CPU)
    seen = torch.cat([b["data_samples"] for b in source.epoch(1)])
    assert sorted(seen.tolist()) == list(range(24))
    assert seen.tolist() != list(range(24))


def test_switching_one_augmentation_off_keeps_the_order() -> None:
    split = ArraySplit(np.zeros((24, 1, 4, 4), np.uint8), np.arange(24))
    orders = [
        torch.cat([b["data_samples"] for b in MemoryBatches(split, a, 8, 9, CPU).epoch(1)])
        for a in (Augment(), Augment(pad=3), Augment(flip=True, cutout=2))
    ]
    assert torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2])


def test_flips_and_offsets_are_evenly_spread() -> None:
    draws = draw(0, 0, 20_000, 32, Augment(pad=4, flip=True))
    assert draws.flip.double().mean().item() == pytest.approx(0.5, abs=0.02)
    for offsets in (draws.top, draws.left):
        counts = torch.bincount(offsets, minlength=9)
        assert len(counts) == 9
        assert counts.min() > 0.9 * 20_000 / 9
    assert not torch.equal(draws.top, draws.left)


def test_evaluation_shows_all_images_in_order() -> None:
    split = random_split(11, 3, 4)
    stats = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    batches = list(evaluation_batches(split, stats, 4, CPU))
    assert [len(b["data_samples"]) for b in batches] == [4, 4, 3]
    inputs = torch.cat([b["inputs"] for b in batches]).double()
    mean, std = (np.asarray(v)[None, :, None, None] for v in stats)
    np.testing.assert_allclose(inputs, (split.images / 255 - mean) / std, atol=2e-6)
    labels = torch.cat([b["data_samples"] for b in batches])
    assert labels.tolist() == split.labels.tolist()


@pytest.mark.slow
def test_ten_times_as_fast_as_a_data_loader() -> None:
    import time

    from torchvision.transforms import v2

    split = random_split(4096, 3, 32)
    stats = ((0.5,) * 3, (0.25,) * 3)
    source = MemoryBatches(split, Augment(4, True, 0, stats), 128, 0, CPU)
    transform = v2.Compose(
        [
            v2.RandomCrop(32, padding=4),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(*stats),
        ]
    )

    class OneByOne(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(split.labels)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return transform(torch.from_numpy(split.images[index])), int(split.labels[index])

    loader = torch.utils.data.DataLoader(
        OneByOne(), batch_size=128, shuffle=True, num_workers=2, persistent_workers=True
    )

    def seconds(run) -> float:
        run()
        began = time.perf_counter()
        run()
        return time.perf_counter() - began

    # One thread against two workers: a busy machine must not decide the comparison.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ours = min(seconds(lambda: list(source.epoch(0))) for _ in range(3))
    torch.set_num_threads(threads)
    theirs = min(seconds(lambda: list(loader)) for _ in range(2))
    assert theirs / ours > 10


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_on_a_gpu_equal_those_on_the_cpu() -> None:
    split = random_split(300, 3, 32)
    augment = Augment(4, True, 8, ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
    cpu = MemoryBatches(split, augment, 64, 1, CPU).epoch(1)
    gpu = MemoryBatches(split, augment, 64, 1, torch.device("cuda")).epoch(1)
    for a, b in zip(cpu, gpu, strict=True):
        torch.testing.assert_close(a["inputs"], b["inputs"].cpu(), rtol=0, atol=1e-6)
        assert torch.equal(a["data_samples"], b["data_samples"].cpu())
