"""Accuracy and calibration from logits (N, C) and labels (N,); pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.base import Score, as_score, not_finite

ECE_BINS = 15


def top_k(logits: Tensor, labels: Tensor, k: int) -> float:
    """Images whose label is among the ``k`` largest logits, in %."""
    hits = logits.topk(k, dim=1).indices == labels[:, None]
    return 100 * hits.any(1).double().mean().item()


def nll(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood of the label, in nats."""
    return F.cross_entropy(logits.double(), labels).item()


def ece(logits: Tensor, labels: Tensor, bins: int = ECE_BINS) -> float:
    """Expected calibration error over equal bins of confidence, in %.

    Bin b holds confidences in (b/bins, (b+1)/bins], so that 1.0 lies in the last one.
    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    confidence, predicted = logits.double().softmax(1).max(1)
    correct = (predicted == labels).double()
    index = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64, device=logits.device)
    gaps.index_add_(0, index, correct - confidence)
    return 100 * gaps.abs().sum().item() / len(labels)


def classification_metrics(logits: Tensor, labels: Tensor) -> dict[str, float | Score]:
    """All metrics of a split; ``top5`` only where there are more than 5 classes.

    None has a value where a logit of any image is NaN or infinite: ``topk`` and ``argmax`` would
    still name a class.
    """
    metrics: dict[str, Callable[[], float]] = {"top1": lambda: top_k(logits, labels, 1)}
    if logits.shape[1] > 5:
        metrics["top5"] = lambda: top_k(logits, labels, 5)
    metrics |= {"nll": lambda: nll(logits, labels), "ece": lambda: ece(logits, labels)}
    broken = int((~logits.isfinite()).any(1).sum())
    if broken:
        reason = Score(None, not_finite(broken, len(logits)), diverged=broken == len(logits))
        return dict.fromkeys(metrics, reason)
    return {name: measure() for name, measure in metrics.items()}


def mean_metrics(found: Sequence[Mapping[str, float | Score]]) -> dict[str, float | Score]:
    """The mean of each metric over several evaluations; no value where one of them has none."""
    means: dict[str, float | Score] = {}
    for name in found[0]:
        scores = [as_score(each[name]) for each in found]
        values = [score.value for score in scores if score.value is not None]
        missing = [score.note for score in scores if score.value is None]
        if missing:
            reason = f"{len(missing)} of {len(scores)} evaluations have no value: {missing[0]}"
            means[name] = Score(None, reason)
        else:
            means[name] = fmean(values)
    return means
