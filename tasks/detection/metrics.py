"""COCO average precision by mmdet's CocoMetric, in per cent and unrounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmdet.evaluation.metrics import coco_metric
from pycocotools.cocoeval import Params

from tasks.base import Score

KINDS = {"bbox": "box_ap", "segm": "mask_ap"}
AREAS = dict(zip(Params().areaRngLbl, Params().areaRng, strict=True))
"""COCO's sizes as (least, most) pixels."""
SUFFIXES = ("", "50", "75", "_small", "_medium", "_large")
"""What the first six of COCO's summary statistics add to the metric's name."""


def average_precision(
    annotation_file: Path,
    metainfo: dict[str, Any],
    outputs: Iterable[tuple[dict[str, Any], Sequence[Any]]],
    kinds: Sequence[str],
) -> dict[str, float | Score]:
    """``box_ap``, ``box_ap50``, ``box_ap75``, ``box_ap_small`` ..., and the same of masks.

    Args:
        annotation_file: the split's annotations.
        metainfo: of its data set: ``classes``.
        outputs: batches and the detector's predictions for them.
        kinds: ``bbox``, ``segm`` or both.

    Returns:
        Values in %: 0 with a note where nothing was detected at all, None where the split has no
        object of that size.
    """
    metric = coco_metric.CocoMetric(ann_file=str(annotation_file), metric=list(kinds))
    metric.dataset_meta = metainfo
    images = 0
    for batch, samples in outputs:
        metric.process(batch, [sample.to_dict() for sample in samples])
        images += len(samples)
    with _summaries() as summaries:
        metric.evaluate(images)
    if len(summaries) < len(kinds):  # CocoMetric gives up where nothing was detected
        present = _sizes_present(metric)
        empty = [0.0 if there else -1.0 for there in present]
        summaries = dict.fromkeys(kinds, empty)
        note = "nothing was detected"
    else:
        note = ""
    return {
        KINDS[kind] + suffix: _score(value, note)
        for kind in kinds
        for suffix, value in zip(SUFFIXES, summaries[kind], strict=False)
    }


def _score(value: float, note: str) -> float | Score:
    if value < 0:
        return Score(None, "the split has no object of this size")
    return Score(100 * float(value), note)


def _sizes_present(metric: coco_metric.CocoMetric) -> list[bool]:
    """For each of the summary statistics whether the split has an object that it is about."""
    api = metric._coco_api
    annotations = api.loadAnns(api.getAnnIds(catIds=metric.cat_ids))
    areas = [each["area"] for each in annotations if not each.get("iscrowd")]
    limits = [AREAS["all"]] * 3 + [AREAS[size] for size in ("small", "medium", "large")]
    return [any(low <= area <= high for area in areas) for low, high in limits]


@contextmanager
def _summaries() -> Iterator[dict[str, Sequence[float]]]:
    """Keep the statistics of every COCO evaluation made inside.

    CocoMetric hands them on with three decimals.
    """
    kept: dict[str, Sequence[float]] = {}
    evaluation = coco_metric.COCOeval

    class Kept(evaluation):  # type: ignore[valid-type]
        def summarize(self) -> None:
            super().summarize()
            kept[self.params.iouType] = self.stats

    coco_metric.COCOeval = Kept
    try:
        yield kept
    finally:
        coco_metric.COCOeval = evaluation
