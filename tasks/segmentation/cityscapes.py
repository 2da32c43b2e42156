"""Data in the Cityscapes layout: where its files lie, and whether they can be trained on.

Layout and train ids: Cordts et al. 2016, arXiv 1604.01685, and cityscapesScripts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.errors import UserError
from tasks.files.cache import Content
from tasks.files.contents import contents, digest_of
from tasks.files.listing import files, pictures

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


@dataclass(frozen=True)
class CityscapesSplit:
    """A split that has passed its checks."""

    image_folder: Path
    mask_folder: Path
    pairs: Mapping[str, str]
    """The mask of every picture, both relative to their folders."""
    sizes: frozenset[tuple[int, int]]
    """Widths and heights of the pictures as loaded."""
    labels: frozenset[int]
    """Those that occur in the masks, without void."""
    digest: str
    """The sha256 of the names and contents of pictures and masks."""
    checksums: Mapping[str, str]
    """The sha256 of each picture by its name."""

    @property
    def images(self) -> int:
        """How many there are."""
        return len(self.pairs)


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
        if split == "test" and not (images.is_dir() and _any(masks, mask_suffix)):
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

    All are decoded once; :func:`check_labels` is for what changes before it is loaded.

    Raises:
        UserError: a folder is absent or empty, or a picture or mask is not as it should be.
    """
    for folder in (image_folder, mask_folder):
        if not folder.is_dir():
            raise UserError(
                f"{folder} is not a folder: name the folder of leftImg8bit/ and gtFine/, each "
                "with train/ and val/"
            )
    images = pictures(image_folder, image_suffix)
    if not images:
        raise UserError(
            f"{image_folder} holds no pictures *{image_suffix}: add them, or set image_suffix"
        )
    pairs = _pairs(image_folder, images, mask_folder, image_suffix, mask_suffix)
    masks = list(pairs.values())
    seen, labelled = contents(image_folder, images, "picture"), contents(mask_folder, masks, "mask")
    for image, mask in pairs.items():
        _check_mask(mask_folder / mask, labelled[mask], seen[image].size, classes)
    return CityscapesSplit(
        image_folder=image_folder,
        mask_folder=mask_folder,
        pairs=pairs,
        sizes=frozenset(found.size for found in seen.values()),
        labels=frozenset().union(*(found.labels for found in labelled.values())) - {VOID},
        digest=digest_of([(i, seen[i].sha256, m, labelled[m].sha256) for i, m in pairs.items()]),
        checksums={image: found.sha256 for image, found in seen.items()},
    )


def _check_mask(path: Path, mask: Content, needed: tuple[int, int], classes: int) -> None:
    if mask.size != needed:
        raise UserError(
            f"{path} has {mask.size[0]}x{mask.size[1]} pixels and its picture "
            f"{needed[0]}x{needed[1]}: masks have the size of their pictures"
        )
    wrong = [label for label in mask.labels if label != VOID and label >= classes]
    if wrong:
        raise _wrong_label(path, min(wrong), classes)


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


def _wrong_label(path: Path | str, label: int, classes: int) -> UserError:
    return UserError(
        f"{path} has the label {label}, but there are {classes} classes: labels are train ids "
        f"from 0 to {classes - 1}, or {VOID} for void"
    )


def _any(folder: Path, suffix: str) -> bool:
    return folder.is_dir() and bool(files(folder, suffix)[0])


def _pairs(
    image_folder: Path, images: list[str], mask_folder: Path, image_suffix: str, mask_suffix: str
) -> dict[str, str]:
    """The mask of every picture: the file of that name, suffixes in any case."""
    by_stem = {mask[: -len(mask_suffix)]: mask for mask in files(mask_folder, mask_suffix)[0]}
    stems = {image: image[: -len(image_suffix)] for image in images}
    lacking = [image for image, stem in stems.items() if stem not in by_stem]
    if not lacking:
        return {image: by_stem[stem] for image, stem in stems.items()}
    mask = stems[lacking[0]] + mask_suffix
    raw = mask.replace("labelTrainIds", "labelIds")
    if raw != mask and (mask_folder / raw).is_file():
        raise UserError(
            f"{mask_folder} has *_labelIds.png but lacks {mask}, as for {len(lacking)} of "
            f"{len(images)} pictures: run csCreateTrainIdLabelImgs of cityscapesScripts"
        )
    raise UserError(
        f"{image_folder / lacking[0]} has no mask {mask_folder / mask}, as have {len(lacking)} of "
        f"{len(images)} pictures: add the masks, remove the pictures, or set mask_suffix"
    )
