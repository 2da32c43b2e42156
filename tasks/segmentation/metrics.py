"""Intersection over union from mmsegmentation's pixel counts, in per cent and unrounded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from mmseg.evaluation.metrics import IoUMetric

from tasks.base import Judged, Score, not_finite
from tasks.segmentation.cityscapes import VOID


def intersection_over_union(
    classes: Sequence[str], outputs: Iterable[tuple[dict[str, Any], Sequence[Any]]]
) -> dict[str, float | Score]:
    """``miou``, ``aacc``, ``macc`` and ``iou@CLASS``, as mmsegmentation's ``IoUMetric`` does.

    Pixels of all images are counted together. A class counts in mIoU where it is labelled or
    predicted anywhere, and in mAcc where it is labelled; void pixels count nowhere.

    Args:
        classes: names in the order of the labels.
        outputs: batches and the segmentor's predictions for them, with their ground truth.

    Returns:
        Values in %; None for a class with no pixel at all, for all of a split without a labelled
        pixel, and for all where the scores of an image are NaN or infinite.
    """
    metric = IoUMetric(ignore_index=VOID)
    metric.dataset_meta = {"classes": tuple(classes)}
    # Intersection, union, predicted and labelled pixels of each class; float32 as IoUMetric adds
    # them up is exact to 16 million pixels only, which is eight pictures of Cityscapes.
    areas = torch.zeros(4, len(classes), dtype=torch.float64)
    images = broken = 0
    shares: list[int] = []
    for batch, samples in outputs:
        images += len(samples)
        broken += sum(not _is_finite(sample) for sample in samples)
        metric.process(batch, [sample.to_dict() for sample in samples])
        for image in metric.results:
            areas += torch.stack(image).double()
            right, labelled = float(image[0].sum()), float(image[3].sum())
            shares.append(round(255 * right / labelled) if labelled else 0)
        metric.results.clear()
    if broken or not areas[3].sum():
        nothing = "no pixel of the split is labelled: all are void"
        note = not_finite(broken, images) if broken else nothing
        reason = Score(None, note, diverged=0 < broken == images)
        return dict.fromkeys(("miou", "aacc", "macc", *(f"iou@{name}" for name in classes)), reason)
    found = IoUMetric.total_area_to_metrics(*areas)
    metrics = {
        "miou": _mean(found["IoU"], "labelled or predicted"),
        "aacc": 100 * float(found["aAcc"]),
        "macc": _mean(found["Acc"], "labelled"),
        **{f"iou@{name}": _one(iou) for name, iou in zip(classes, found["IoU"], strict=True)},
    }
    return Judged(metrics, np.array(shares, np.uint8))


def _is_finite(sample: Any) -> bool:
    logits = getattr(sample, "seg_logits", None)
    return logits is None or bool(logits.data.isfinite().all())


def _mean(values: Sequence[float], had: str) -> float | Score:
    present = [float(value) for value in values if not math.isnan(value)]
    note = f"over the {len(present)} of {len(values)} classes that are {had}"
    mean = 100 * sum(present) / len(present)
    return mean if len(present) == len(values) else Score(mean, note)


def _one(value: float) -> float | Score:
    if math.isnan(value):
        return Score(None, "no pixel has this class, in truth or prediction")
    return 100 * float(value)
