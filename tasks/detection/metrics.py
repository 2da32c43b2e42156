"""COCO average precision by mmdet's CocoMetric, in per cent and unrounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmdet.evaluation.metrics import coco_metric

from tasks.base import Score

KINDS = {"bbox": "box_ap", "segm": "mask_ap"}
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
    found: dict[str, float | Score] = {}
    for kind in kinds:
        for index, suffix in enumerate(SUFFIXES):
            found[KINDS[kind] + suffix] = _score(summaries, kind, index)
    return found


def _score(summaries: dict[str, Sequence[float]], kind: str, index: int) -> float | Score:
    if kind not in summaries:
        return Score(0.0, "nothing was detected")
    value = float(summaries[kind][index])
    if value < 0:
        return Score(None, "the split has no object of this size")
    return 100 * value


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
