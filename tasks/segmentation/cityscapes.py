"""Data in the Cityscapes layout: where its files lie, and whether they can be trained on.

Layout and train ids: Cordts et al. 2016, arXiv 1604.01685, and cityscapesScripts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.errors import UserError
from tasks.openmmlab.pictures import picture_size, shown_size
from tasks.pictures import spread

SPLITS = ("train", "val", "test")
VOID = 255
"""The label of pixels that neither train nor count."""
IMAGE_SUFFIX = "_leftImg8bit.png"
MASK_SUFFIX = "_gtFine_labelTrainIds.png"
CITYSCAPES = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
"""The 19 classes in the order of their train ids, with the colours they are painted in."""

_LOSSY = ("JPEG", "JPEG2000", "MPO", "WEBP")
_FULLY_READ = 500
_SAMPLE = 100


@dataclass(frozen=True)
class CityscapesSplit:
    """A split that has passed its checks."""

    image_folder: Path
    mask_folder: Path
    images: int
    labels: frozenset[int]
    """Those met in the masks that were read, without void."""
    digest: str
    """The sha256 of image names and sizes in bytes, mask names and mask contents."""


def check_cityscapes(
    root: Path,
    classes: Sequence[str] | None = None,
    image_suffix: str = IMAGE_SUFFIX,
    mask_suffix: str = MASK_SUFFIX,
) -> dict[str, CityscapesSplit]:
    """Find and check train, val and, where it is labelled, test.

    Pictures are ``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`` and masks
    ``gtFine/SPLIT/CITY/*_gtFine_labelTrainIds.png``. Cityscapes' own test masks are void in every
    pixel; such a test split is left out.

    Args:
        root: the folder of leftImg8bit and gtFine.
        classes: names in the order of the labels; by default Cityscapes' 19.
        image_suffix: how the files of pictures end.
        mask_suffix: how the files of masks end, after what picture and mask share.

    Raises:
        UserError: as :func:`check_split`, or the classes cannot be labels.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: name the folder of leftImg8bit/ and gtFine/")
    names = tuple(CITYSCAPES if classes is None else classes)
    if not 2 <= len(names) <= VOID:
        raise UserError(f"classes must name 2 to {VOID} classes, not {len(names)}")
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"classes has {name} twice: name every class once")
    found = {}
    for split in SPLITS:
        images, masks = root / "leftImg8bit" / split, root / "gtFine" / split
        if split == "test" and not (images.is_dir() and _files(masks, mask_suffix)):
            continue
        checked = check_split(images, masks, len(names), image_suffix, mask_suffix)
        if checked.labels:
            found[split] = checked
        elif split != "test":
            raise UserError(f"the masks in {masks} label no pixel: write train ids from 0 on")
    return found


def check_split(
    image_folder: Path,
    mask_folder: Path,
    classes: int,
    image_suffix: str = IMAGE_SUFFIX,
    mask_suffix: str = MASK_SUFFIX,
) -> CityscapesSplit:
    """Check that every picture has its mask, of its size, with labels below ``classes`` or void.

    Sizes and kinds are read from all headers. Labels are read in all of up to 500 masks, and of
    more masks in 100, evenly spread; :func:`check_labels` is for the others, when they are loaded.

    Raises:
        UserError: a folder is absent or empty, or a picture or mask is not as it should be.
    """
    for folder in (image_folder, mask_folder):
        if not folder.is_dir():
            raise UserError(
                f"{folder} is not a folder: name the folder of leftImg8bit/ and gtFine/, each "
                "with train/ and val/"
            )
    images = _files(image_folder, image_suffix)
    if not images:
        raise UserError(
            f"{image_folder} holds no pictures *{image_suffix}: add them, or set image_suffix"
        )
    stems = [name.removesuffix(image_suffix) for name in images]
    masks = [stem + mask_suffix for stem in stems]
    _require_masks(image_folder, images, mask_folder, masks, mask_suffix)
    for image, mask in zip(images, masks, strict=True):
        _check_kind(mask_folder / mask)
        size, needed = picture_size(mask_folder / mask), shown_size(image_folder / image)
        if size != needed:
            raise UserError(
                f"{mask_folder / mask} has {size[0]}x{size[1]} pixels and its picture "
                f"{needed[0]}x{needed[1]}: masks have the size of their pictures"
            )
    labels: set[int] = set()
    for index in spread(len(masks), len(masks) if len(masks) <= _FULLY_READ else _SAMPLE):
        labels |= _labels(mask_folder / masks[index], classes)
    digest = hashlib.sha256()
    for image, mask in zip(images, masks, strict=True):
        length = (image_folder / image).stat().st_size
        content = hashlib.sha256((mask_folder / mask).read_bytes()).hexdigest()
        digest.update(f"{image}\t{length}\t{mask}\t{content}\n".encode())
    return CityscapesSplit(
        image_folder=image_folder,
        mask_folder=mask_folder,
        images=len(images),
        labels=frozenset(labels),
        digest=digest.hexdigest(),
    )


def check_labels(labels: np.ndarray, path: Path | str, classes: int) -> None:
    """Refuse labels that are neither below ``classes`` nor void.

    Args:
        labels: a mask of any shape, of integers.
        path: its file, for the message.
        classes: the number of classes.

    Raises:
        UserError: names the file and its first such label.
    """
    wrong = (labels >= classes) & (labels != VOID)
    if wrong.any():
        raise _wrong_label(path, int(labels[wrong].min()), classes)


def _check_kind(path: Path) -> None:
    """Refuse what loading would turn into other labels, from the header of a mask.

    mmsegmentation casts 16 bits to 8, Pillow scales grey of 2 or 4 bits up to 8, and JPEG rounds.
    """
    try:
        with Image.open(path) as mask:
            mode, form, tiles = mask.mode, mask.format, mask.tile
    except (OSError, SyntaxError) as error:
        raise UserError(f"{path} cannot be read as a picture: replace it") from error
    if mode not in ("L", "P"):
        raise UserError(
            f"{path} is a picture of mode {mode}: masks have one channel of 8 bits that holds "
            "train ids"
        )
    if mode == "L" and any(str(tile[3]).startswith("L;") for tile in tiles):
        raise UserError(
            f"{path} has grey values of less than 8 bits, which are scaled when they are read: "
            "write train ids in 8 bits"
        )
    if form in _LOSSY:
        raise UserError(
            f"{path} is a {form} file, which does not keep labels exactly: write masks as PNG"
        )


def _labels(path: Path, classes: int) -> set[int]:
    with Image.open(path) as mask:
        try:
            counts = mask.histogram()
        except (OSError, SyntaxError) as error:
            raise UserError(f"{path} cannot be read as a picture: replace it") from error
    found = {label for label, count in enumerate(counts) if count and label != VOID}
    if max(found, default=0) >= classes:
        raise _wrong_label(path, min(label for label in found if label >= classes), classes)
    return found


def _wrong_label(path: Path | str, label: int, classes: int) -> UserError:
    return UserError(
        f"{path} has the label {label}, but there are {classes} classes: labels are train ids "
        f"from 0 to {classes - 1}, or {VOID} for void"
    )


def _files(folder: Path, suffix: str) -> list[str]:
    """Files under ``folder`` that end so, relative to it, sorted; hidden ones are left out."""
    found = []
    for parent, _, names in os.walk(folder, followlinks=True):
        inside = Path(parent).relative_to(folder)
        found += [(inside / n).as_posix() for n in names if n.endswith(suffix) and n[0] != "."]
    return sorted(found)


def _require_masks(
    image_folder: Path, images: list[str], mask_folder: Path, masks: list[str], mask_suffix: str
) -> None:
    present = set(_files(mask_folder, mask_suffix))
    lacking = [pair for pair in zip(images, masks, strict=True) if pair[1] not in present]
    if not lacking:
        return
    image, mask = lacking[0]
    raw = mask.replace("labelTrainIds", "labelIds")
    if raw != mask and (mask_folder / raw).is_file():
        raise UserError(
            f"{mask_folder} has *_labelIds.png but lacks {mask}, as for {len(lacking)} of "
            f"{len(images)} pictures: run csCreateTrainIdLabelImgs of cityscapesScripts"
        )
    raise UserError(
        f"{image_folder / image} has no mask {mask_folder / mask}, as have {len(lacking)} of "
        f"{len(images)} pictures: add the masks, remove the pictures, or set mask_suffix"
    )
