"""Data in COCO format: where its files lie, and whether they can be trained on.

Everything that mmdet would fail on in the middle of a run, or pass over in silence, is found here
before training. Format: Lin et al. 2014, arXiv 1405.0312, and cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.detection.coco_annotations import (
    check_annotations,
    check_categories,
    check_images,
    leaves_folder,
)
from tasks.detection.coco_values import shown
from tasks.errors import UserError, unknown_name
from tasks.files.cache import Content
from tasks.files.contents import contents, digest_of
from tasks.files.decoding import has_orientation

SPLITS = ("train", "val", "test")
_BYTE_ORDER_MARK = "\ufeff"
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True)
class CocoFiles:
    """Where a split lies."""

    annotations: Path
    images: Path
    """The folder that the file names start at."""


@dataclass(frozen=True)
class CocoSplit:
    """A split that has passed its checks."""

    annotation_file: Path
    image_folder: Path
    images: int
    boxes: int
    """Boxes of the classes to learn, without crowd regions and boxes under a pixel, which mmdet
    leaves out."""
    digest: str
    """The sha256 of the annotation file and of the names and contents of the images."""
    checksums: Mapping[str, str]
    """The sha256 of each image by its file name."""
    classes: tuple[str, ...]
    """Category names in the order of the file, which is how mmdet numbers labels."""
    has_masks: bool
    """Whether every annotation has a segmentation."""


def find_coco(root: Path, splits: Mapping[str, Any] | None = None) -> dict[str, CocoFiles]:
    """Where train, val and, if there is one, test lie.

    Annotations are ``annotations/instances_SPLIT.json`` or ``instances_SPLIT2017.json``; images
    lie in ``SPLIT2017/``, ``SPLIT/``, ``images/SPLIT/``, ``images/`` or the root, whichever holds
    the first file that the annotations name.

    Args:
        root: the folder of the data set.
        splits: instead of the usual layout ``{train: {annotations: FILE, images: FOLDER}, ...}``;
            relative paths start at ``root``, and images may be left out.

    Raises:
        UserError: a folder or file is absent, or ``splits`` is not written that way.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: name the folder of a data set in COCO format")
    if splits is None:
        annotations = {split: _annotation_file(root, split) for split in SPLITS}
        given = {split: {"annotations": path} for split, path in annotations.items() if path}
    else:
        given = {split: _given(split, entry) for split, entry in splits.items()}
        for split in SPLITS[:2]:
            if split not in given:
                raise UserError(f"splits lacks {split}: add {_example(split)}")
    found = {}
    for split in SPLITS:
        if split in given:
            path = root / given[split]["annotations"].expanduser()
            if not path.is_file():
                raise UserError(f"{path} does not exist: name the annotation file of {split}")
            folder = given[split].get("images")
            images = root / folder.expanduser() if folder else _image_folder(root, split, path)
            found[split] = CocoFiles(path, images)
    return found


def check_coco(
    root: Path,
    splits: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    masks: bool = False,
) -> dict[str, CocoSplit]:
    """Find and check train, val and, if there is one, test.

    Raises:
        UserError: as :func:`find_coco` and :func:`check_split`, or the splits' categories differ.
    """
    files = find_coco(root, splits)
    found = {
        split: check_split(each.annotations, each.images, classes, masks)
        for split, each in files.items()
    }
    train = found["train"]
    for split in found.values():
        if split.classes != train.classes:
            raise UserError(_difference(train, split))
    return found


def check_split(
    annotation_file: Path,
    image_folder: Path,
    classes: Sequence[str] | None = None,
    masks: bool = False,
) -> CocoSplit:
    """Read a split's annotations and check them and its images.

    Boxes may leave the image by two pixels and be of no size, as some of COCO's are. All image
    files must exist and be whole, and have the size, as loaded, that the annotations give them.

    Args:
        annotation_file: a file such as ``instances_train2017.json``.
        image_folder: the folder that its file names start at.
        classes: the categories to learn; by default all.
        masks: whether every annotation needs a segmentation.

    Raises:
        UserError: the file is no COCO file, contradicts itself, or its images are absent.
    """
    content = _read(annotation_file)
    where = str(annotation_file)
    categories = check_categories(where, content["categories"])
    if classes is not None:
        for name in classes:
            if name not in categories.values():
                raise unknown_name(f"category of {annotation_file}", name, categories.values())
        categories = {id_: name for id_, name in categories.items() if name in set(classes)}
        if not categories:
            raise UserError("classes is empty: name the categories to learn, or leave it out")
    sizes = check_images(where, content["images"])
    boxes, has_masks = check_annotations(where, content, sizes, categories, masks)
    names = [image["file_name"] for image in content["images"]]
    _require_files(annotation_file, image_folder, names)
    found = contents(image_folder, names, "picture")
    _check_sizes(annotation_file, image_folder, content["images"], found)
    checksums = {name: found[name].sha256 for name in sorted(names)}
    whole = contents(annotation_file.parent, [annotation_file.name])[annotation_file.name]
    return CocoSplit(
        annotation_file=annotation_file,
        image_folder=image_folder,
        images=len(names),
        boxes=boxes,
        digest=digest_of([(whole.sha256,), *checksums.items()]),
        checksums=checksums,
        classes=tuple(categories.values()),
        has_masks=has_masks,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): name an annotation file in COCO format"
        ) from error
    content = _parsed(path, data)
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict):
        raise UserError(
            f"{path} is not in COCO format: it must be an object with {', '.join(parts)}"
        )
    for part in parts:
        if not _is_list_of_objects(content.get(part)):
            raise UserError(
                f"{path} is not in COCO format: '{part}' must be a list of objects; "
                "name an instances file"
            )
    return content


def _parsed(path: Path, data: bytes) -> Any:
    """What the file holds, read as pycocotools reads it, but for repeated keys."""
    if not data.strip():
        raise UserError(f"{path} is empty: copy or write it again")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not JSON in UTF-8: name an annotation file") from error
    if text.startswith(_BYTE_ORDER_MARK):
        raise UserError(f"{path} begins with a byte order mark: save it in UTF-8 without one")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            which = f"the entry with id {shown(found['id'])}" if "id" in found else "an object"
            raise UserError(f"{path}: {which} has the key '{twice}' twice: leave one")
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is not JSON or is cut off ({error.msg} at line {error.lineno}, column "
            f"{error.colno}): copy or write it again"
        ) from error
    except RecursionError as error:
        raise UserError(
            f"{path} is not in COCO format: its lists are nested too deeply; name an instances file"
        ) from error
    except ValueError as error:
        raise UserError(
            f"{path} has a number of thousands of digits: correct or remove it"
        ) from error


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _check_sizes(
    annotation_file: Path,
    folder: Path,
    images: Sequence[Mapping[str, Any]],
    found: Mapping[str, Content],
) -> None:
    """Compare the sizes of the pictures, as they are loaded, with those of the annotations."""
    for image in images:
        name, said = image["file_name"], (image["width"], image["height"])
        size = found[name].size
        if size != said:
            turned = size == said[::-1] and has_orientation(folder / name)
            how = " as its Exif orientation has it" if turned else ""
            raise UserError(
                f"{folder / name} has {size[0]}x{size[1]} pixels{how}, but {annotation_file} says "
                f"{said[0]}x{said[1]}: correct the annotations or replace the picture"
            )


def _require_files(annotation_file: Path, folder: Path, names: list[str]) -> None:
    """Refuse absent files by one listing a folder, as looking up every name is slow on a network.

    Links to nothing are listed, too: reading them refuses them.
    """
    wanted: dict[str, set[str]] = {}
    for name in names:
        parent, _, base = name.rpartition("/")
        wanted.setdefault(parent, set()).add(base)
    absent: set[str] = set()
    for parent, bases in wanted.items():
        place = folder / parent
        lacking = bases - (set(os.listdir(place)) if place.is_dir() else set())
        absent |= {f"{parent}/{base}" if parent else base for base in lacking}
    first = next((name for name in names if name in absent), None)
    if first is not None:
        raise UserError(
            f"{folder} lacks {first}, which {annotation_file} names, and {len(absent)} of "
            f"{len(names)} images in all: complete it, or name the folder of the images"
        )


def _annotation_file(root: Path, split: str) -> Path | None:
    names = [f"annotations/instances_{split}{year}.json" for year in ("2017", "")]
    for name in names:
        if (root / name).is_file():
            return Path(name)
    if split == "test":
        return None
    raise UserError(
        f"{root} has neither {names[0]} nor {names[1]}: name the folder that holds annotations/, "
        f"or the files by splits: {_example(split)}"
    )


def _image_folder(root: Path, split: str, annotation_file: Path) -> Path:
    candidates = [root / name for name in (f"{split}2017", split, f"images/{split}", "images", "")]
    name = _first_file_name(annotation_file)
    for folder in candidates:
        if name is None or leaves_folder(name) or (folder / name).is_file():
            return folder
    raise UserError(
        f"{annotation_file} names the image {name}, which is neither in {split}2017/, {split}/, "
        f"images/{split}/, images/ nor {root} itself: name the folder by splits: {_example(split)}"
    )


def _first_file_name(path: Path) -> str | None:
    """The first file name in the annotations, found without parsing up to 450 MB of them.

    None where there is none or it cannot be read: reading all of the file will say why.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            found = _FILE_NAME.search(data)
            return json.loads(found.group(1)) if found else None
    except (OSError, ValueError):  # an empty file cannot be mapped
        return None


def _given(split: str, entry: Any) -> dict[str, Path]:
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    keys = ("annotations", "images")
    if not isinstance(entry, Mapping) or "annotations" not in entry:
        raise UserError(f"splits: {split} must name its annotations: write {_example(split)}")
    for key in entry:
        if key not in keys:
            raise unknown_name(f"option of the split {split}", key, keys)
    return {key: Path(value) for key, value in entry.items()}


def _example(split: str) -> str:
    return f"{{{split}: {{annotations: FILE, images: FOLDER}}}}"


def _difference(train: CocoSplit, other: CocoSplit) -> str:
    files = f"{train.annotation_file} and {other.annotation_file}"
    for have, lack in ((train, other), (other, train)):
        for name in have.classes:
            if name not in lack.classes:
                return (
                    f"{have.annotation_file} has the category {name}, which {lack.annotation_file} "
                    "has not: give all splits the same categories"
                )
    return f"{files} list the same categories in another order: list them in the same order"
