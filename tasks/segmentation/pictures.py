"""Class maps laid over a picture by mmseg's visualiser: the labelled one, the predicted one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer
from PIL import Image

from tasks.openmmlab.drawing import Panels, load_picture, palette
from tasks.pictures import readable_size

VOID = 255
"""The label of pixels that are neither trained on nor evaluated."""


def segmentation_panels(
    info: Mapping[str, Any], predicted: torch.Tensor, metainfo: Mapping[str, Any]
) -> Panels:
    """The same picture twice: with its labels, and with the classes that a model predicts.

    Args:
        info: of the image, as the data set's ``get_data_info`` gives it.
        predicted: a class for each pixel of the picture, shape (H, W).
        metainfo: of the data set: ``classes`` and ``palette``.

    Returns:
        The panels with their captions, and what their colours mean.
    """
    loaded = LoadAnnotations()(load_picture(info))
    picture, labels = loaded["img"], loaded["gt_seg_map"]
    classes = predicted.cpu().numpy()
    panels = [
        ("ground truth", overlay(picture, labels, metainfo)),
        (f"predicted: {accuracy(classes, labels)}", overlay(picture, classes, metainfo)),
    ]
    return panels, colours((labels, classes), metainfo)


def colours(
    maps: Iterable[np.ndarray], metainfo: Mapping[str, Any]
) -> dict[str, tuple[int, int, int]]:
    """The colours of the classes that occur in maps of labels, by name, and void as black."""
    present = set().union(*(np.unique(labels).tolist() for labels in maps))
    named = zip(metainfo["classes"], palette(metainfo), strict=True)
    found = {name: colour for index, (name, colour) in enumerate(named) if index in present}
    return found | ({"not labelled": (0, 0, 0)} if VOID in present else {})


def overlay(picture: np.ndarray, labels: np.ndarray, metainfo: Mapping[str, Any]) -> Image.Image:
    """Lay a map of labels (H, W) over an RGB picture (H, W, 3), enlarged if it is small.

    Void is black.
    """
    size = readable_size(picture.shape[1], picture.shape[0])
    canvas = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
    mapped = Image.fromarray(labels.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    visualiser = SegLocalVisualizer(alpha=0.6)
    visualiser.dataset_meta = {"classes": metainfo["classes"], "palette": palette(metainfo)}
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.from_numpy(np.array(mapped))[None]))
    visualiser.add_datasample(
        "picture", np.array(canvas), sample, draw_pred=False, with_labels=False
    )
    return Image.fromarray(visualiser.get_image())


def accuracy(classes: np.ndarray, labels: np.ndarray) -> str:
    """In words, the share of labelled pixels whose class is right."""
    labelled = labels != VOID
    if not labelled.any():
        return "no pixel is labelled"
    return f"{100 * (classes == labels)[labelled].mean():.1f} % of labelled pixels right"
