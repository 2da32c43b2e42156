"""The lists of a COCO file: each entry complete, and all of them consistent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

import numpy as np

from tasks.errors import UserError

TOLERANCE = 2.0
"""Pixels by which a box may leave its image: some of COCO's do by a fraction of one."""


def check_categories(where: str, categories: list[dict[str, Any]]) -> dict[int, str]:
    """Names by id, in the order of the file.

    Raises:
        UserError: there are none, or an id or name is absent or given twice.
    """
    if not categories:
        raise UserError(f"{where} has no categories: add those that its annotations use")
    _unique_ids(where, "categories", categories)
    names: dict[int, str] = {}
    for category in categories:
        name = category.get("name")
        if not isinstance(name, str) or not name:
            raise UserError(f"{where}: category {category['id']} has no name: give it one")
        if name in names.values():
            raise UserError(f"{where} has two categories '{name}': merge or rename them")
        names[category["id"]] = name
    return names


def check_images(where: str, images: list[dict[str, Any]]) -> dict[int, tuple[int, int]]:
    """Width and height by image id.

    Raises:
        UserError: there are none, or an id, file name or size is absent or given twice.
    """
    if not images:
        raise UserError(f"{where} names no images: name an annotation file that does")
    _unique_ids(where, "images", images)
    sizes: dict[int, tuple[int, int]] = {}
    names: set[str] = set()
    for image in images:
        id_, name = image["id"], image.get("file_name")
        if not isinstance(name, str) or not name:
            raise UserError(f"{where}: image {id_} has no file_name: add it")
        if name in names:
            raise UserError(f"{where} lists {name} twice: leave one, with the boxes of both")
        names.add(name)
        width, height = image.get("width"), image.get("height")
        if not _is_whole(width) or not _is_whole(height) or min(width, height) < 1:
            raise UserError(f"{where}: image {id_} needs a width and a height in pixels")
        sizes[id_] = (width, height)
    return sizes


def check_annotations(
    where: str,
    content: Mapping[str, list[dict[str, Any]]],
    sizes: Mapping[int, tuple[int, int]],
    categories: Mapping[int, str],
    masks: bool,
) -> tuple[int, bool]:
    """Boxes to learn, and whether each annotation of ``categories`` has a segmentation.

    Args:
        where: the file, for messages.
        content: the whole file.
        sizes: width and height by image id.
        categories: those to learn.
        masks: whether every annotation needs a segmentation.

    Raises:
        UserError: an annotation is incomplete, refers to what is not there, or lies outside its
            image; there is no box to learn.
    """
    annotations = content["annotations"]
    if not annotations:
        raise UserError(f"{where} has no annotations: name an annotation file with boxes")
    _unique_ids(where, "annotations", annotations)
    known = {category["id"] for category in content["categories"]}
    for each in annotations:
        if not _is_whole(each.get("image_id")) or each["image_id"] not in sizes:
            raise UserError(
                f"{where}: annotation {each['id']} belongs to image {each.get('image_id')}, which "
                "images does not list: add the image or remove the annotation"
            )
        if not _is_whole(each.get("category_id")) or each["category_id"] not in known:
            raise UserError(
                f"{where}: annotation {each['id']} is of category {each.get('category_id')}, "
                "which categories does not list: add the category or remove the annotation"
            )
        if "area" not in each or "iscrowd" not in each:
            raise UserError(
                f"{where}: annotation {each['id']} needs area (width * height where there is no "
                "mask) and iscrowd (0 for a single object)"
            )
        if each["id"] == 0:
            raise UserError(
                f"{where} has an annotation with id 0, which COCO's evaluation takes for a miss: "
                "number annotations from 1"
            )
    boxes = _boxes(where, annotations, sizes)
    learned = np.fromiter((a["category_id"] in categories for a in annotations), bool)
    area = _column(where, annotations, "area")
    trains = learned & (boxes[:, 2:] >= 1).all(1) & (area > 0)
    trains &= np.fromiter((not a["iscrowd"] for a in annotations), bool)
    if not trains.any():
        raise UserError(
            f"{where} has no box of at least a pixel to learn: name a file with boxes of "
            f"{', '.join(list(categories.values())[:5])}"
        )
    return int(trains.sum()), _has_masks(where, annotations, learned, masks)


def _boxes(
    where: str, annotations: list[dict[str, Any]], sizes: Mapping[int, tuple[int, int]]
) -> np.ndarray:
    """(N, 4) x, y, width, height."""
    for each in annotations:
        box = each.get("bbox")
        if not isinstance(box, list) or len(box) != 4:
            raise UserError(
                f"{where}: annotation {each['id']} has the bbox {box}: write [x, y, width, height]"
            )
    boxes = _column(where, annotations, "bbox")
    wrong = (boxes[:, 2:] < 0).any(1)
    if wrong.any():
        first = annotations[int(wrong.argmax())]
        raise UserError(
            f"{where}: annotation {first['id']} has the bbox {first['bbox']} of negative size, as "
            f"have {wrong.sum()} of {len(wrong)}: write [x, y, width, height]"
        )
    pixels = np.array([sizes[each["image_id"]] for each in annotations])
    wrong = (boxes[:, :2] < -TOLERANCE).any(1)
    wrong |= (boxes[:, :2] + boxes[:, 2:] > pixels + TOLERANCE).any(1)
    if wrong.any():
        index = int(wrong.argmax())
        first, (width, height) = annotations[index], pixels[index]
        raise UserError(
            f"{where}: annotation {first['id']} has the bbox {first['bbox']}, which leaves its "
            f"image of {width}x{height} pixels, as do {wrong.sum()} of {len(wrong)}: write "
            "[x, y, width, height] in pixels"
        )
    return boxes


def _column(where: str, annotations: list[dict[str, Any]], key: str) -> np.ndarray:
    """Finite numbers under ``key``; all annotations at once, as COCO has 860,000."""
    try:
        values = np.array([each[key] for each in annotations])
        if values.dtype.kind in "iuf" and np.isfinite(values).all():
            return values.astype(np.float64)
    except ValueError:
        pass
    for each in annotations:
        value = each[key]
        for number in value if isinstance(value, list) else [value]:
            if not isinstance(number, int | float) or not np.isfinite(number):
                break
        else:
            continue
        raise UserError(
            f"{where}: annotation {each['id']} has the {key} {value}: write finite numbers"
        )
    raise UserError(f"{where}: an annotation's {key} is too large a number: correct it")


def _has_masks(
    where: str, annotations: list[dict[str, Any]], learned: np.ndarray, masks: bool
) -> bool:
    lacking = [
        each
        for each, learn in zip(annotations, learned, strict=True)
        if learn and not _is_mask(each.get("segmentation"))
    ]
    if lacking and masks:
        raise UserError(
            f"{where}: annotation {lacking[0]['id']} has no segmentation of polygons or run "
            f"lengths, as have {len(lacking)} of {len(annotations)}: use a detector without "
            "masks, or add them"
        )
    return not lacking


def _is_mask(value: Any) -> bool:
    if isinstance(value, dict):
        return "counts" in value and "size" in value
    return isinstance(value, list) and bool(value) and all(isinstance(p, list) for p in value)


def _unique_ids(where: str, part: str, entries: Iterable[dict[str, Any]]) -> None:
    seen: set[int] = set()
    for number, entry in enumerate(entries):
        id_ = entry.get("id")
        if not _is_whole(id_):
            raise UserError(f"{where}: {part}[{number}] has the id {id_}: write a whole number")
        if id_ in seen:
            raise UserError(f"{where} has two {part} with id {id_}: number them apart")
        seen.add(id_)


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
