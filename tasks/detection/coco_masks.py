"""The segmentations of a COCO file: polygons and run lengths that pycocotools can rasterise.

pycocotools checks none of this. It draws a polygon of 4 numbers as a box, wraps negative counts
around, and reads and writes beyond its memory where counts do not fit the size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from tasks.detection.coco_values import are_finite, is_whole, shown
from tasks.errors import UserError

_AT_ONCE = 4096
"""Annotations whose coordinates are checked together: COCO has 60 million numbers."""
_BITS = 5
"""Bits of a count in a character; the sixth says that another one follows."""
_LONGEST = 7
"""Characters of a count: 35 bits, where COCO's counts have 32."""


def is_mask(value: Any) -> bool:
    """Whether an annotation's ``segmentation`` is written as polygons or as run lengths."""
    if isinstance(value, dict):
        return "counts" in value and "size" in value
    return isinstance(value, list) and bool(value) and all(isinstance(p, list) for p in value)


def check_masks(
    where: str,
    annotations: Iterable[dict[str, Any]],
    sizes: Mapping[int, tuple[int, int]],
    margin: float,
) -> None:
    """Check segmentations that are masks by :func:`is_mask`.

    Args:
        where: the file, for messages.
        annotations: with ids and known image ids.
        sizes: width and height in pixels by image id.
        margin: pixels by which a polygon may leave its image.

    Raises:
        UserError: names the first annotation whose mask cannot be rasterised.
    """
    remaining = iter(annotations)
    while part := list(islice(remaining, _AT_ONCE)):
        polygons = []
        for each in part:
            size = sizes[each["image_id"]]
            if isinstance(each["segmentation"], dict):
                _check_runs(where, each, size)
            else:
                _check_lengths(where, each)
                polygons.append((each, size))
        if polygons:
            _check_coordinates(where, polygons, margin)


def _check_lengths(where: str, each: dict[str, Any]) -> None:
    for polygon in each["segmentation"]:
        count = len(polygon)
        if count < 6 or count % 2:
            raise UserError(
                f"{where}: annotation {each['id']} has a polygon of {count} numbers: write "
                "[x1, y1, x2, y2, x3, y3, ...] of at least 3 points, or remove the polygon"
            )


def _check_coordinates(
    where: str, polygons: Sequence[tuple[dict[str, Any], tuple[int, int]]], margin: float
) -> None:
    """All together first; one by one only where something is wrong."""
    points = chain.from_iterable(each["segmentation"] for each, _ in polygons)
    numbers = list(chain.from_iterable(points))
    if are_finite(numbers):
        lengths = [sum(map(len, each["segmentation"])) // 2 for each, _ in polygons]
        limits = np.repeat([size for _, size in polygons], lengths, axis=0) + margin
        values = np.array(numbers, np.float64).reshape(-1, 2)
        if (values >= -margin).all() and (values <= limits).all():
            return
    for each, (width, height) in polygons:
        for polygon in each["segmentation"]:
            if not are_finite(polygon):
                raise UserError(
                    f"{where}: annotation {each['id']} has a polygon with coordinates that are no "
                    "finite numbers: write them in pixels, without quotes"
                )
            values = np.array(polygon, np.float64).reshape(-1, 2)
            if (values < -margin).any() or (values > np.add((width, height), margin)).any():
                raise UserError(
                    f"{where}: annotation {each['id']} has a polygon that leaves its image of "
                    f"{width}x{height} pixels: write [x1, y1, x2, y2, ...] in pixels"
                )


def _check_runs(where: str, each: dict[str, Any], image: tuple[int, int]) -> None:
    """Check run lengths against the size of the image, (width, height)."""
    (width, height), mask = image, each["segmentation"]
    size, counts = mask["size"], mask["counts"]
    if not (isinstance(size, list) and all(map(is_whole, size)) and size == [height, width]):
        raise UserError(
            f"{where}: annotation {each['id']} has a mask of the size {shown(size)}, and its image "
            f"is [{height}, {width}]: write [height, width] of the image"
        )
    if isinstance(counts, str):
        runs = decoded(counts)
        if runs is None or (runs < 0).any():
            raise UserError(
                f"{where}: annotation {each['id']} has a mask whose compressed counts are damaged: "
                "write them again with pycocotools.mask.encode"
            )
    elif isinstance(counts, list) and all(is_whole(run) and run >= 0 for run in counts):
        runs = np.array(counts, object)  # the integers of a file may be of any length
    else:
        raise UserError(
            f"{where}: annotation {each['id']} has a mask whose counts are no list of whole "
            "numbers from 0 on: write run lengths in pixels"
        )
    covered = int(runs.sum())
    if covered != width * height:
        raise UserError(
            f"{where}: annotation {each['id']} has a mask whose counts sum to {covered} pixels, "
            f"and its image has {height} * {width}: write the runs of all pixels, column by column"
        )


def decoded(counts: str) -> np.ndarray | None:
    """Run lengths of COCO's compressed form (``rleFrString`` of its maskApi.c).

    Returns:
        (N,) int64, negative where the text says so; None where it is no such text: another
        character, a count that is cut off or has more than 32 bits.
    """
    if not counts:
        return np.zeros(0, np.int64)
    try:
        characters = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        return None
    ends = np.flatnonzero((characters & 32) == 0)
    if characters.min() < 0 or characters.max() > 63 or not ends.size:
        return None
    if ends[-1] != len(characters) - 1:
        return None
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > _LONGEST:
        return None
    starts = ends - lengths + 1
    place = np.arange(len(characters)) - np.repeat(starts, lengths)
    values = np.add.reduceat((characters & 31) << (_BITS * place), starts)
    values -= ((characters[ends] & 16) != 0) * (1 << (_BITS * lengths))  # the sign is extended
    # From the fourth on a count is written as its difference to the last but one.
    values[1::2] = values[1::2].cumsum()
    values[2::2] = values[2::2].cumsum()
    return values
