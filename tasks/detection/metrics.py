"""COCO average precision by mmdet's CocoMetric, in per cent and unrounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.evaluation.metrics import coco_metric
from pycocotools.cocoeval import Params

from tasks.base import Judged, Score, not_finite
from tasks.detection.finite import is_finite

KINDS = {"bbox": "box_ap", "segm": "mask_ap"}
AREAS = dict(zip(Params().areaRngLbl, Params().areaRng, strict=True))
"""COCO's sizes as (least, most) pixels."""
SUFFIXES: dict[str, tuple[float | None, str]] = {
    "": (None, "all"),
    "50": (0.5, "all"),
    "75": (0.75, "all"),
    "_small": (None, "small"),
    "_medium": (None, "medium"),
    "_large": (None, "large"),
}
"""What a statistic adds to the metric's name: its IoU threshold (None for the mean over 0.5 to
0.95) and its objects' size."""
OFFICIAL = 100
"""Detections an image that COCO's own evaluation looks at; CocoMetric has another number for all
but the mean over thresholds."""
MAX_DETS = (100, 300, 1000)
"""CocoMetric's ``proposal_nums``: the last one is what it takes instead."""


def average_precision(
    annotation_file: Path,
    metainfo: dict[str, Any],
    outputs: Iterable[tuple[dict[str, Any], Sequence[Any]]],
    kinds: Sequence[str],
) -> dict[str, float | Score]:
    """``box_ap``, ``box_ap50``, ``box_ap75``, ``box_ap_small`` ..., and the same of masks.

    Each says in its note how many detections an image it looks at. Those for which mmdet has
    another number than COCO stand beside COCO's, ``box_ap50@100``.

    Args:
        annotation_file: the split's annotations.
        metainfo: of its data set: ``classes``.
        outputs: batches and the detector's predictions for them, None for an image that it gave
            no finite outputs for.
        kinds: ``bbox``, ``segm`` or both.

    Returns:
        Values in %: 0 with a note where nothing was detected at all; None where the split has no
        object of that size, and for all where a score or box of an image is NaN or infinite.
    """
    metric = coco_metric.CocoMetric(
        ann_file=str(annotation_file), metric=list(kinds), proposal_nums=MAX_DETS
    )
    metric.dataset_meta = metainfo
    images = broken = 0
    for batch, samples in outputs:
        whole = [sample for sample in samples if sample is not None and is_finite(sample)]
        images += len(samples)
        broken += len(samples) - len(whole)
        metric.process(batch, [sample.to_dict() for sample in whole])
    if broken:
        names = [KINDS[kind] + suffix + at for kind in kinds for suffix, at, _ in _statistics()]
        reason = Score(None, not_finite(broken, images), diverged=broken == images)
        return dict.fromkeys(names, reason)
    with _evaluations() as (precisions, matched):
        metric.evaluate(images)
    nothing = len(precisions) < len(kinds)  # CocoMetric gives up where nothing was detected
    present = _sizes_present(metric)
    found: dict[str, float | Score] = {}
    for kind in kinds:
        for suffix, at, dets in _statistics():
            note = f"maxDets {dets}" + ("; nothing was detected" if nothing else "")
            threshold, size = SUFFIXES[suffix]
            if nothing:
                value = 0.0 if present[size] else None
            else:
                value = _mean(precisions[kind], threshold, size, dets)
            found[KINDS[kind] + suffix + at] = (
                Score(None, "the split has no object of this size")
                if value is None
                else Score(100 * value, note)
            )
    counts = matched.get(kinds[0], {})
    order = metric._coco_api.get_img_ids()
    return Judged(found, np.array([min(counts.get(each, 0), 255) for each in order], np.uint8))


def _statistics() -> Iterator[tuple[str, str, int]]:
    """Suffix, condition and maxDets of each: mmdet's, then COCO's where that is another."""
    yield "", "", OFFICIAL
    for suffix in list(SUFFIXES)[1:]:
        yield suffix, "", MAX_DETS[-1]
        yield suffix, f"@{OFFICIAL}", OFFICIAL


def _mean(precision: np.ndarray, threshold: float | None, size: str, dets: int) -> float | None:
    """Mean precision over recalls, classes and thresholds; None where there is no object.

    Args:
        precision: (thresholds, recalls, classes, sizes, maxDets), -1 where there is no object.
        threshold: IoU; None for all.
        size: a name of ``AREAS``.
        dets: one of ``MAX_DETS``.
    """
    chosen = precision[..., list(AREAS).index(size), MAX_DETS.index(dets)]
    if threshold is not None:
        chosen = chosen[np.isclose(Params().iouThrs, threshold)]
    chosen = chosen[chosen > -1]
    return float(chosen.mean()) if chosen.size else None


def _sizes_present(metric: coco_metric.CocoMetric) -> dict[str, bool]:
    """For each size whether the split has an object of it."""
    api = metric._coco_api
    annotations = api.loadAnns(api.getAnnIds(catIds=metric.cat_ids))
    areas = [each["area"] for each in annotations if not each.get("iscrowd")]
    return {name: any(low <= area <= high for area in areas) for name, (low, high) in AREAS.items()}


@contextmanager
def _evaluations() -> Iterator[tuple[dict[str, np.ndarray], dict[str, dict[int, int]]]]:
    """Keep the precisions of every COCO evaluation made inside, and the objects found, by kind.

    CocoMetric returns a few means of the precisions with three decimals. Objects are counted by
    image: those of all sizes that a detection of their class meets at an IoU of 0.5.
    """
    kept: dict[str, np.ndarray] = {}
    matched: dict[str, dict[int, int]] = {}
    evaluation = coco_metric.COCOeval

    class Kept(evaluation):  # type: ignore[valid-type]
        def summarize(self) -> None:
            super().summarize()
            kept[self.params.iouType] = self.eval["precision"]
            counts = matched.setdefault(self.params.iouType, {})
            for each in filter(None, self.evalImgs):
                if each["aRng"] == self.params.areaRng[0]:
                    found = (each["gtMatches"][0] > 0) & ~np.asarray(each["gtIgnore"], bool)
                    counts[each["image_id"]] = counts.get(each["image_id"], 0) + int(found.sum())

    coco_metric.COCOeval = Kept
    try:
        yield kept, matched
    finally:
        coco_metric.COCOeval = evaluation
