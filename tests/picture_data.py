"""Small data of every family around given pictures, and what of them reaches the network."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tasks.base import TASKS, Task
from tasks.detection.coco import check_coco
from tasks.segmentation.cityscapes import check_cityscapes

FAMILIES = ("classification", "detection", "segmentation")
WIDTH, HEIGHT = 64, 48
CLASSES = ["ground", "top"]
CPU = torch.device("cpu")
_PLACES = {
    "classification": "{split}/{group}",
    "detection": "{split}",
    "segmentation": "leftImg8bit/{split}/{group}",
}


def noise(seed: int = 0, channels: int = 3) -> np.ndarray:
    """(HEIGHT, WIDTH, channels) uint8."""
    shape = (HEIGHT, WIDTH, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def picture_path(family: str, root: Path, split: str = "val", number: int = 0) -> Path:
    """Where a picture lies; classes and cities are ``a`` and ``b`` in turn."""
    group = "ab"[number % 2]
    suffix = "_leftImg8bit.png" if family == "segmentation" else ".png"
    return root / _PLACES[family].format(split=split, group=group) / f"p{number:02}{suffix}"


def mask_path(root: Path, split: str = "val", number: int = 0) -> Path:
    """Where the mask of a picture lies."""
    path = picture_path("segmentation", root, split, number)
    name = path.name.replace("_leftImg8bit", "_gtFine_labelTrainIds")
    return root / "gtFine" / path.relative_to(root / "leftImg8bit").with_name(name)


def write_data(family: str, root: Path, pictures: Sequence[Any] = (), count: int = 2) -> Path:
    """Write train and val of ``count`` pictures; those given begin val, by what saves them.

    Each given picture is a Pillow image or takes the path to write to.
    """
    pictures = list(pictures)
    for split in ("train", "val"):
        total = max(count, len(pictures)) if split == "val" else count
        for number in range(total):
            path = picture_path(family, root, split, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            given = pictures[number] if split == "val" and number < len(pictures) else None
            if given is None:
                given = Image.fromarray(noise(1000 * (split == "val") + number))
            given(path) if callable(given) else given.save(path)
            if family == "segmentation":
                write_mask(mask_path(root, split, number))
        if family == "detection":
            write_annotations(root, split, total)
    return root


def write_mask(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """A mask of labels 0 and 1."""
    labels = np.zeros(size[::-1], np.uint8)
    labels[:10] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)


def write_annotations(
    root: Path, split: str, count: int, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> None:
    """A box in each picture."""
    names = [picture_path("detection", root, split, n).name for n in range(count)]
    box = {"bbox": [4, 4, 20, 20], "area": 400, "iscrowd": 0, "category_id": 1}
    content = {
        "images": [
            {"id": n, "file_name": name, "width": size[0], "height": size[1]}
            for n, name in enumerate(names)
        ],
        "annotations": [{"id": n + 1, "image_id": n, **box} for n in range(count)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def task_of(family: str, root: Path) -> Task:
    """The family's task on the data."""
    factory, _ = TASKS.find(family)
    if family == "classification":
        dataset = {"name": "imagefolder", "root": str(root), "image_size": 32, "workers": 0}
        return factory(dataset, "cifar_resnet8", val_size=1)
    size = {"pretrained": "random", "image_size": [WIDTH, HEIGHT]}
    if family == "detection":
        return factory({"name": "d", "path": str(root)}, "retinanet_tiny", **size)
    dataset = {"name": "d", "path": str(root), "classes": CLASSES}
    return factory(dataset, "fcn_tiny", **size)


def checked(family: str, root: Path) -> dict[str, Any]:
    """What a plan asks of a task before any training, apart from its model."""
    return task_of(family, root).fingerprint()


def check_data(family: str, root: Path) -> None:
    """What the task's check does to the data, without the seconds that a config takes."""
    if family == "classification":
        task_of(family, root).check()
    elif family == "detection":
        check_coco(root)
    else:
        check_cityscapes(root, CLASSES)


def seen(family: str, root: Path) -> list[torch.Tensor]:
    """The pictures of val as the network gets them, in their order."""
    batches = task_of(family, root).eval_batches("test", CPU)
    return [picture for batch in batches for picture in batch["inputs"]]


def saving(image: Image.Image, kind: str, **options: Any) -> Callable[[Path], None]:
    """Save in a format of Pillow's, whatever the file's name."""
    return partial(image.save, format=kind, **options)
