"""What pictures of detection and segmentation share: pixels, predictions, colours."""

from __future__ import annotations

import colorsys
import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from PIL import Image

from tasks.base import Drawing
from tasks.modules import eval_mode
from tasks.openmmlab.pictures import LoadPicture
from tasks.openmmlab.scope import openmmlab
from tasks.pictures import save, side_by_side, spread

_GOLDEN = 0.618034

Panels = tuple[list[tuple[str, Image.Image]], dict[str, tuple[int, int, int]]]
"""Captions and panels, and what their colours mean."""


def draw_images(
    scope: str,
    model: BaseModel,
    dataset: Any,
    drawing: Drawing,
    panels: Callable[[Mapping[str, Any], Any], Panels],
) -> list[Path]:
    """Write a picture for each of some images of a data set.

    Args:
        scope: ``mmdet`` or ``mmseg``.
        model: predicts for one image at a time; every module keeps the mode that it had.
        dataset: of the split, with the test pipeline.
        drawing: which images, and where to.
        panels: makes them of an image's facts and the model's data sample for it.

    Returns:
        The files, ``SPLIT-NUMBER-NAME.png``.
    """
    written = []
    with eval_mode(model), torch.no_grad(), openmmlab(scope), quiet():
        for index in spread(len(dataset), drawing.count):
            (predicted,) = model.test_step(pseudo_collate([dataset[index]]))
            info = dataset.get_data_info(index)
            name = Path(info["img_path"]).stem
            title = f"{name} ({drawing.split} {index})  {drawing.title}"
            picture = side_by_side(title, *panels(info, predicted))
            written.append(save(picture, drawing.folder, f"{drawing.split}-{index:05}-{name}"))
    return written


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the visualisers from warning of boxes that touch the edge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def load_picture(info: Mapping[str, Any]) -> dict[str, Any]:
    """An image's facts with its pixels, ``img``, in RGB (H, W, 3)."""
    loaded = LoadPicture()(copy.deepcopy(dict(info)))
    return {**loaded, "img": loaded["img"][..., ::-1].copy()}


def palette(metainfo: Mapping[str, Any]) -> list[tuple[int, int, int]]:
    """A colour for each class: the data set's own where they are meant for these classes."""
    classes, own = metainfo["classes"], metainfo.get("palette") or ()
    if len(own) == len(classes):
        return [(int(r), int(g), int(b)) for r, g, b in own]
    return _hues(len(classes))


def _hues(count: int) -> list[tuple[int, int, int]]:
    """Hues from all around the circle, light and dark; one is far from the next."""
    stride = next(s for s in range(round(count * _GOLDEN), count + 1) if math.gcd(s, count) == 1)
    found = []
    for index in range(count):
        place = index * stride % count
        shade = colorsys.hsv_to_rgb(place / count, 0.9, (1.0, 0.7)[place % 2])
        found.append((round(255 * shade[0]), round(255 * shade[1]), round(255 * shade[2])))
    return found
