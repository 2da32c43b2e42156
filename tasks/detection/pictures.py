"""Boxes and masks drawn into a picture by mmdet's visualiser: those annotated, those predicted."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData
from PIL import Image

from tasks.openmmlab.batches import drawn_from
from tasks.openmmlab.drawing import Panels, load_picture, palette
from tasks.pictures import readable_size


def detection_panels(
    info: Mapping[str, Any],
    predicted: InstanceData,
    metainfo: Mapping[str, Any],
    masks: bool,
    min_score: float,
) -> Panels:
    """The same picture twice: with its annotations, and with a detector's predictions.

    Regions that evaluation ignores (crowds) are left out.

    Args:
        info: of the image, as the data set's ``get_data_info`` gives it.
        predicted: boxes (N, 4) in pixels of the picture, ``labels``, ``scores`` and ``masks``.
        metainfo: of the data set: ``classes`` and ``palette``.
        masks: whether to draw the masks that are annotated.
        min_score: in 0..1; only predictions above it are drawn.
    """
    loaded = load_picture(info)
    picture = loaded["img"]
    annotated = annotated_objects(loaded, masks)
    chosen = predicted[predicted.scores > min_score].cpu()
    panels = [
        (f"ground truth: {_objects(annotated)}", draw(picture, annotated, metainfo)),
        (
            f"predicted with a score above {min_score:g}: {_objects(chosen)}",
            draw(picture, chosen, metainfo),
        ),
    ]
    return panels, {}


def annotated_objects(loaded: dict[str, Any], masks: bool) -> InstanceData:
    """What the annotations of a loaded picture say, in its pixels."""
    loaded = LoadAnnotations(with_bbox=True, with_mask=masks)(copy.deepcopy(loaded))
    counted = ~loaded["gt_ignore_flags"]
    found = InstanceData(
        bboxes=loaded["gt_bboxes"].tensor, labels=torch.from_numpy(loaded["gt_bboxes_labels"])
    )
    if masks:
        found.masks = torch.from_numpy(loaded["gt_masks"].to_ndarray().astype(bool))
    return found[torch.from_numpy(counted)]


def draw(picture: np.ndarray, instances: InstanceData, metainfo: Mapping[str, Any]) -> Image.Image:
    """Draw instances into an RGB picture (H, W, 3), which is enlarged first if it is small."""
    height, width = picture.shape[:2]
    size = readable_size(width, height)
    drawn = InstanceData(
        bboxes=instances.bboxes
        * instances.bboxes.new_tensor([size[0] / width, size[1] / height] * 2),
        labels=instances.labels,
    )
    if "scores" in instances:
        drawn.scores = instances.scores
    if "masks" in instances and len(instances):
        drawn.masks = enlarged(instances.masks.numpy(), size)
    visualiser = DetLocalVisualizer(alpha=0.6)
    classes = metainfo["classes"]
    visualiser.dataset_meta = {"classes": classes, "palette": palette(metainfo)}
    sample = DetDataSample(gt_instances=drawn)
    canvas = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    # mmdet draws the shade of each mask from numpy's global generator.
    with drawn_from(0):
        visualiser.add_datasample("picture", canvas, sample, draw_pred=False)
    return Image.fromarray(visualiser.get_image())


def enlarged(masks: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Masks (N, H, W) at another width and height."""
    resized = [
        cv2.resize(mask.astype(np.uint8), tuple(size), interpolation=cv2.INTER_NEAREST)
        for mask in masks
    ]
    return np.stack(resized).astype(bool)


def _objects(instances: InstanceData) -> str:
    return f"{len(instances)} object{'s' if len(instances) != 1 else ''}"
