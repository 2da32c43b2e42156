"""Scenes of real handwritten digits: detection and segmentation on any machine, with no download.

The 1,797 digits of 8x8 pixels that come with scikit-learn are enlarged and strewn over textured
ground. Every digit has a box, a mask and its class, so that one folder, in COCO's format and in
the Cityscapes layout at once, serves detectors, instance segmenters and semantic segmenters.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.errors import UserError
from tasks.openmmlab.png import write_png

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""Classes of boxes; digit d is category d + 1."""
GROUND_AND_DIGITS = ("ground", *DIGITS)
"""Classes of pixels; digit d has the label d + 1."""

_VERSION = 1
"""Part of the cached folder's name: raise it when the same arguments give other scenes."""
_SPLITS = ("train", "val", "test")
_MOST = 5
_SIDES = (16, 32)
"""Pixels that a digit's 8 become: the least and the most."""
_LEAST_SIZE = 48
_INK = 110
"""From this of 255 on a pixel of an enlarged digit belongs to its mask."""
_TRIES = 40
_OVERLAP = 0.1


@dataclass(frozen=True)
class Scene:
    """A picture and what is on it."""

    image: np.ndarray
    """(size, size, 3) uint8."""
    masks: np.ndarray
    """(n, size, size) bool, disjoint, in the order of ``digits``."""
    digits: tuple[int, ...]
    """0 to 9, by object."""
    sources: tuple[int, ...]
    """Indices into scikit-learn's digits, by object."""

    def boxes(self) -> np.ndarray:
        """(n, 4) x, y, width, height of the masks."""
        found = []
        for mask in self.masks:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            found.append(
                (columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0])
            )
        return np.array(found)

    def labels(self) -> np.ndarray:
        """(size, size) uint8: 0 for ground, d + 1 for digit d."""
        labels = np.zeros(self.image.shape[:2], np.uint8)
        for mask, digit in zip(self.masks, self.digits, strict=True):
            labels[mask] = digit + 1
        return labels


def digit_scenes(
    root: Path, train: int = 64, val: int = 32, test: int = 32, size: int = 96, seed: int = 0
) -> Path:
    """The folder of these scenes under ``root``, made where it is absent.

    Arguments and errors as for :func:`make_digit_scenes`.
    """
    folder = root / f"digit_scenes-v{_VERSION}-{train}-{val}-{test}-{size}px-seed{seed}"
    if not folder.is_dir():
        make_digit_scenes(folder, train, val, test, size, seed)
    return folder


def make_digit_scenes(
    folder: Path, train: int = 64, val: int = 32, test: int = 32, size: int = 96, seed: int = 0
) -> None:
    """Write scenes of 1 to 5 digits with boxes, masks and label maps.

    The arguments decide every byte. Splits share no digit: of each class every fifth is for test,
    the one after it for validation. The folder appears whole or not at all, also when two
    processes make it at once.

    Args:
        folder: to be made, with ``annotations/instances_SPLIT.json``,
            ``leftImg8bit/SPLIT/digits/*_leftImg8bit.png`` and
            ``gtFine/SPLIT/digits/*_gtFine_labelTrainIds.png``.
        train: pictures to train on.
        val: pictures to validate on.
        test: pictures to test on.
        size: side of a picture in pixels.
        seed: decides which digits lie where, on what ground.

    Raises:
        UserError: a split without pictures, or no room for a digit.
        OSError: the folder cannot be written.
    """
    if size < _LEAST_SIZE:
        raise UserError(f"scenes of digits need a size of {_LEAST_SIZE} pixels or more: {size}")
    counts = dict(zip(_SPLITS, (train, val, test), strict=True))
    for split, count in counts.items():
        if count < 1:
            raise UserError(f"scenes of digits need at least 1 picture for {split}, not {count}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".digit_scenes-", dir=folder.parent) as place:
            made = Path(place) / "scenes"
            for split, count in counts.items():
                _write_split(made, split, [draw_scene(split, n, size, seed) for n in range(count)])
            made.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def draw_scene(split: str, number: int, size: int, seed: int) -> Scene:
    """The scene of that number, which does not depend on how many there are."""
    images, classes, of_split = _digits()
    random = np.random.default_rng((seed, _SPLITS.index(split), number))
    picture = _ground(random, size)
    masks: list[np.ndarray] = []
    sources: list[int] = []
    wanted = random.integers(1, _MOST + 1)
    for index in random.choice(of_split[split], wanted, replace=False):
        side = int(random.integers(_SIDES[0], _SIDES[1] + 1))
        colour = random.integers(150, 256, 3)
        corners = random.integers(0, size - side + 1, (_TRIES, 2))
        digit = Image.fromarray(images[index]).resize((side, side), Image.Resampling.BICUBIC)
        for row, column in corners:
            ink = np.zeros((size, size), np.int64)
            ink[row : row + side, column : column + side] = np.asarray(digit)
            if all(_apart(ink >= _INK, mask) for mask in masks):
                picture += (colour - picture) * ink[..., None] // 255
                masks.append(ink >= _INK)
                sources.append(int(index))
                break
    return Scene(
        image=picture.astype(np.uint8),
        masks=np.stack(masks),
        digits=tuple(int(classes[index]) for index in sources),
        sources=tuple(sources),
    )


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed form: lengths of runs down the columns, first of pixels outside."""
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    lengths = np.diff(np.concatenate(([0], changes, [pixels.size]))).tolist()
    return {"size": list(mask.shape), "counts": [0, *lengths] if pixels[0] else lengths}


def _apart(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether masks share no pixel, and their boxes little of the smaller."""
    boxes = [np.outer(mask.any(1), mask.any(0)) for mask in (one, other)]
    shared = (boxes[0] & boxes[1]).sum()
    return not (one & other).any() and shared <= _OVERLAP * min(box.sum() for box in boxes)


def _ground(random: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) int64 from 20 to 99: a tint, soft patches and grain, all faint."""
    patches = random.integers(0, 256, (size // 12, size // 12), dtype=np.uint8)
    soft = Image.fromarray(patches).resize((size, size), Image.Resampling.BICUBIC)
    grain = random.integers(0, 16, (size, size, 1))
    tint = random.integers(20, 45, 3)
    return tint + np.asarray(soft, np.int64)[..., None] * 40 // 255 + grain


@cache
def _digits() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """(1797, 8, 8) uint8 images, their classes, and the indices of each split."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    within = np.zeros(len(raw.target), int)
    for digit in range(len(DIGITS)):
        chosen = raw.target == digit
        within[chosen] = np.arange(chosen.sum()) % 5
    of_split = {"test": within == 0, "val": within == 1, "train": within > 1}
    images = (raw.images.astype(np.int64) * 255 // 16).astype(np.uint8)
    return images, raw.target, {name: np.flatnonzero(v) for name, v in of_split.items()}


def _write_split(folder: Path, split: str, scenes: list[Scene]) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, 1):
        stem = f"{split}/digits/digits_{number:05}"
        name = f"leftImg8bit/{stem}_leftImg8bit.png"
        write_png(folder / name, scene.image)
        write_png(folder / f"gtFine/{stem}_gtFine_labelTrainIds.png", scene.labels())
        height, width = scene.image.shape[:2]
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for mask, box, digit in zip(scene.masks, scene.boxes(), scene.digits, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": digit + 1,
                    "bbox": box.tolist(),
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "segmentation": run_lengths(mask),
                }
            )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": d + 1, "name": name} for d, name in enumerate(DIGITS)],
    }
    path = folder / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
