"""The lists of a COCO file: each entry complete, and all of them consistent."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping
from itertools import chain, compress
from typing import Any

import numpy as np

from tasks.detection.coco_masks import check_masks, is_mask
from tasks.detection.coco_values import are_finite, is_whole, shown
from tasks.errors import UserError

TOLERANCE = 2.0
"""Pixels by which a box may leave its image: some of COCO's do by a fraction of one."""
_LARGEST_SIDE = 2**31 - 1
"""Pixels, as the formats of pictures have it."""
_NEEDED = ("area", "iscrowd")
_FLAGS = {"iscrowd": (int,), "ignore": (int, bool)}
"""Those that mmdet reads, with their types; ``ignore`` is no key of COCO's and may be left out."""


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
        id_, name = image["id"], _file_name(where, image)
        if name in names:
            raise UserError(f"{where} lists {name} twice: leave one, with the boxes of both")
        names.add(name)
        sizes[id_] = (_side(where, image, "width"), _side(where, image, "height"))
    return sizes


def leaves_folder(file_name: str) -> bool:
    """Whether a file name leads out of the folder that it starts at."""
    return file_name.startswith("/") or ".." in file_name.split("/")


def _file_name(where: str, image: Mapping[str, Any]) -> str:
    """Of an image, without ``.`` and doubled slashes."""
    id_, name = image["id"], image.get("file_name")
    if not isinstance(name, str) or not name:
        raise UserError(f"{where}: image {id_} has no file_name: add it")
    if leaves_folder(name):
        raise UserError(
            f"{where}: image {id_} has the file_name {shown(name)}, which leaves the folder of "
            "the images: write it relative to that folder, without '..'"
        )
    return posixpath.normpath(name)


def _side(where: str, image: Mapping[str, Any], key: str) -> int:
    if key not in image:
        raise UserError(f"{where}: image {image['id']} needs a width and a height: add its {key}")
    side = image[key]
    if not is_whole(side) or not 1 <= side <= _LARGEST_SIDE:
        raise UserError(
            f"{where}: image {image['id']} needs a width and a height in pixels, whole numbers "
            f"from 1 on: correct its {key} of {shown(side)}"
        )
    return side


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
        _check_references(where, each, sizes, known)
        _check_flags(where, each)
    boxes = _boxes(where, annotations, sizes)
    areas = _areas(where, annotations, boxes)
    learned = np.fromiter((a["category_id"] in categories for a in annotations), bool)
    trains = learned & (boxes[:, 2:] >= 1).all(1) & (areas > 0)
    trains &= np.fromiter((not (a["iscrowd"] or a.get("ignore")) for a in annotations), bool)
    if not trains.any():
        raise UserError(
            f"{where} has no box of at least a pixel to learn: name a file with boxes of "
            f"{', '.join(list(categories.values())[:5])}"
        )
    has_masks = _has_masks(where, annotations, learned, masks)
    if masks:
        check_masks(where, compress(annotations, learned), sizes, TOLERANCE)
    return int(trains.sum()), has_masks


def _check_references(
    where: str, each: dict[str, Any], images: Collection[int], categories: Collection[int]
) -> None:
    image, category = each.get("image_id"), each.get("category_id")
    if not is_whole(image) or image not in images:
        raise UserError(
            f"{where}: annotation {each['id']} belongs to image {shown(image)}, which "
            "images does not list: add the image or remove the annotation"
        )
    if not is_whole(category) or category not in categories:
        raise UserError(
            f"{where}: annotation {each['id']} is of category {shown(category)}, "
            "which categories does not list: add the category or remove the annotation"
        )
    if each["id"] == 0:
        raise UserError(
            f"{where} has an annotation with id 0, which COCO's evaluation takes for a miss: "
            "number annotations from 1"
        )


def _check_flags(where: str, each: dict[str, Any]) -> None:
    if any(key not in each for key in _NEEDED):
        raise UserError(
            f"{where}: annotation {each['id']} needs area (width * height where there is no "
            "mask) and iscrowd (0 for a single object): add them"
        )
    for key, types in _FLAGS.items():
        value = each.get(key, 0)
        if type(value) not in types or value not in (0, 1):
            raise UserError(
                f"{where}: annotation {each['id']} has the {key} {shown(value)}: write 0 or 1"
            )


def _boxes(
    where: str, annotations: list[dict[str, Any]], sizes: Mapping[int, tuple[int, int]]
) -> np.ndarray:
    """(N, 4) x, y, width, height."""
    for each in annotations:
        box = each.get("bbox")
        if not isinstance(box, list) or len(box) != 4:
            raise UserError(
                f"{where}: annotation {each['id']} has the bbox {shown(box)}: "
                "write [x, y, width, height]"
            )
    boxes = _numbers(where, annotations, "bbox", [each["bbox"] for each in annotations])
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


def _areas(where: str, annotations: list[dict[str, Any]], boxes: np.ndarray) -> np.ndarray:
    """(N,) in pixels; 0 only where a mask or a box of no size explains it, as some of COCO's."""
    areas = _numbers(where, annotations, "area", [[each["area"]] for each in annotations])[:, 0]
    wrong = areas < 0
    for index in np.flatnonzero((areas == 0) & (boxes[:, 2:] >= 1).all(1)):
        wrong[index] = not is_mask(annotations[index].get("segmentation"))
    if wrong.any():
        first = annotations[int(wrong.argmax())]
        raise UserError(
            f"{where}: annotation {first['id']} has the area {first['area']} and the bbox "
            f"{first['bbox']}, as have {wrong.sum()} of {len(wrong)} annotations an area too "
            "small: write the mask's pixels, or width * height where there is no mask"
        )
    return areas


def _numbers(
    where: str, annotations: list[dict[str, Any]], key: str, rows: list[list[Any]]
) -> np.ndarray:
    """(N, K) what ``key`` gives of N annotations; all at once, as COCO has 860,000."""
    numbers = list(chain.from_iterable(rows))
    if not are_finite(numbers):
        index = next(i for i, row in enumerate(rows) if not are_finite(row))
        raise UserError(
            f"{where}: annotation {annotations[index]['id']} has the {key} "
            f"{shown(annotations[index][key])}: write finite numbers"
        )
    return np.array(numbers, np.float64).reshape(len(rows), -1)


def _has_masks(
    where: str, annotations: list[dict[str, Any]], learned: np.ndarray, masks: bool
) -> bool:
    lacking = [
        each for each in compress(annotations, learned) if not is_mask(each.get("segmentation"))
    ]
    if lacking and masks:
        raise UserError(
            f"{where}: annotation {lacking[0]['id']} has no segmentation of polygons or run "
            f"lengths, as have {len(lacking)} of {len(annotations)}: use a detector without "
            "masks, or add them"
        )
    return not lacking


def _unique_ids(where: str, part: str, entries: Iterable[dict[str, Any]]) -> None:
    seen: set[int] = set()
    for number, entry in enumerate(entries):
        id_ = entry.get("id")
        if not is_whole(id_):
            raise UserError(
                f"{where}: {part}[{number}] has the id {shown(id_)}: write a whole number of at "
                "most 2**53"
            )
        if id_ in seen:
            raise UserError(f"{where} has two {part} with id {id_}: number them apart")
        seen.add(id_)
