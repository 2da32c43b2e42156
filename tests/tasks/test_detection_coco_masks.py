"""Masks that pycocotools would draw wrong, or outside of its memory."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as oracle

from tasks.detection.coco_masks import check_masks, decoded
from tasks.errors import UserError

HEIGHT, WIDTH = 30, 40
SQUARE = [0, 0, 10, 0, 10, 10]


def check(*segmentations: Any) -> None:
    annotations = [
        {"id": number, "image_id": 5, "segmentation": segmentation}
        for number, segmentation in enumerate(segmentations, start=1)
    ]
    check_masks("train.json", annotations, {5: (WIDTH, HEIGHT)}, margin=2.0)


def runs(counts: Any, size: Any = (HEIGHT, WIDTH)) -> dict[str, Any]:
    return {"counts": counts, "size": list(size) if isinstance(size, tuple) else size}


def encoded(mask: np.ndarray) -> str:
    return oracle.encode(np.asfortranarray(mask))["counts"].decode()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")
@pytest.mark.parametrize(
    "segmentation",
    [
        [SQUARE],
        [SQUARE, [0.5, 0.5, 10, 1e-3, 5, 5, 4, 4]],
        [[-1.5, 0, 42, 0, 10, 32]],
        runs([1200]),
        runs([0, 1200]),
        runs([5, 0, 3, 2, 1190]),
        runs(encoded(np.zeros((HEIGHT, WIDTH), np.uint8))),
        runs(encoded(np.eye(HEIGHT, WIDTH, dtype=np.uint8))),
    ],
)
def test_masks_that_can_be_drawn_pass(segmentation: Any) -> None:
    check(segmentation)
    rles = oracle.frPyObjects(segmentation, HEIGHT, WIDTH) if _plain(segmentation) else segmentation
    assert oracle.decode(rles).shape[:2] == (HEIGHT, WIDTH)


def _plain(segmentation: Any) -> bool:
    return isinstance(segmentation, list) or isinstance(segmentation["counts"], list)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3, 4]], "a polygon of 4 numbers: write .* at least 3 points"),
        ([SQUARE, []], "a polygon of 0 numbers"),
        ([[*SQUARE, 3]], "a polygon of 7 numbers"),
        ([[0, 0, 10, 0, 10, float("nan")]], "coordinates that are no finite numbers"),
        ([[0, 0, 10, 0, 10, float("inf")]], "coordinates that are no finite numbers"),
        ([[0, 0, 10, 0, 10, "10"]], "coordinates that are no finite numbers"),
        ([[0, 0, 10, 0, 10, None]], "coordinates that are no finite numbers"),
        ([[0, 0, 10, 0, 10, True]], "coordinates that are no finite numbers"),
        ([[0, 0, 10, 0, 10, [1]]], "coordinates that are no finite numbers"),
        ([[0, 0, 10, 0, 10, 10**400]], "coordinates that are no finite numbers"),
        ([[0, 0, 10, 0, 10, 1e9]], "a polygon that leaves its image of 40x30 pixels"),
        ([[0, 0, 10, 0, 10, 35]], "a polygon that leaves its image of 40x30 pixels"),
        ([SQUARE, [-9, 0, 10, 0, 10, 10]], "a polygon that leaves its image"),
        (runs([600]), "counts sum to 600 pixels, and its image has 30 . 40"),
        (runs([1200, 1]), "counts sum to 1201 pixels"),
        (runs([]), "counts sum to 0 pixels"),
        (runs([1201, -1]), "counts are no list of whole numbers from 0 on"),
        (runs([1000.0, 200.0]), "counts are no list of whole numbers"),
        (runs([True, 1199]), "counts are no list of whole numbers"),
        (runs(["1200"]), "counts are no list of whole numbers"),
        (runs([10**30]), "counts are no list of whole numbers"),
        (runs(None), "counts are no list of whole numbers"),
        (runs({"a": 1}), "counts are no list of whole numbers"),
        (
            runs([1200], (WIDTH, HEIGHT)),
            r"the size \[40, 30\], .* is \[30, 40\]",
        ),
        (runs([2400], (60, 40)), "a mask of the size"),
        (runs([1200], (30.0, 40.0)), "a mask of the size"),
        (runs([1200], ("30", "40")), "a mask of the size"),
        (runs([1200], (30,)), "a mask of the size"),
        (runs([1200], None), "a mask of the size None"),
        (runs([1200], 1200), "a mask of the size 1200"),
        (runs(""), "counts sum to 0 pixels"),
        (runs("hello world"), "compressed counts are damaged"),
        (runs("\n"), "compressed counts are damaged"),
        (runs("é€"), "compressed counts are damaged"),
        (runs("oooooooooooooooo0"), "compressed counts are damaged"),
        (runs("Po"), "compressed counts are damaged"),
        (runs("o"), "compressed counts are damaged"),
        (runs("M0M"), "compressed counts are damaged"),
        (runs("05"), "counts sum to 5 pixels"),
        (runs(encoded(np.eye(9, 9, dtype=np.uint8))), "counts sum to 81 pixels"),
    ],
)
def test_masks_that_cannot_be_drawn_are_refused_by_annotation(
    segmentation: Any, message: str
) -> None:
    with pytest.raises(UserError, match=f"train.json: annotation 2 has .*{message}") as caught:
        check([SQUARE], segmentation, [SQUARE])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(20))
def test_compressed_counts_are_read_as_pycocotools_does(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 90, 2)
    mask = random.random((height, width)) < random.random() ** 3
    found = decoded(encoded(mask.astype(np.uint8)))
    assert found is not None
    drawn = np.repeat(np.arange(len(found)) % 2, found).reshape(width, height).T
    assert (drawn == mask).all()


def test_large_counts_are_read() -> None:
    found = decoded(encoded(np.zeros((30_000, 1000), np.uint8)))
    assert found is not None
    assert found.tolist() == [30_000_000]


def test_many_masks_take_seconds() -> None:
    random = np.random.default_rng(0)
    polygon = (random.random(60) * 30).round(2).tolist()
    text = encoded((random.random((HEIGHT, WIDTH)) < 0.1).astype(np.uint8))
    begin = time.process_time()
    check(*[[polygon]] * 60_000, *[runs(text)] * 20_000)
    assert time.process_time() - begin < 6
