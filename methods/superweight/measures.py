"""What an ensemble's members cost, and how much they differ."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from methods.superweight.ensemble import Ensemble, select


def member_macs(ensemble: Ensemble, example: Tensor) -> list[int]:
    """Multiply-adds of each member for one image, those that make its weights included.

    Args:
        ensemble: may lie on any device; nothing is computed there.
        example: (1, C, H, W) on the meta device.
    """
    counts = []
    for number in range(len(ensemble.backbone.members)):
        member = copy.deepcopy(select(ensemble, [number])).to("meta").eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            member(example)
        counts.append(counter.get_total_flops() // 2)
    return counts


def diversity(predictions: Tensor, labels: Tensor) -> float:
    """Mean over pairs of the share of images that two members class differently, over mean error.

    1 means that errors are as good as independent where there are many classes. NaN where no
    member errs, or where one predicts no class.

    Source: Fort et al. 2019, arXiv 1912.02757, section 4.1.

    Args:
        predictions: (members, N) classes, below 0 for none; at least two members.
        labels: (N,).
    """
    if int(predictions.min()) < 0:
        return float("nan")
    pairs = list(combinations(predictions, 2))
    disagreement = sum((a != b).double().mean().item() for a, b in pairs) / len(pairs)
    error = (predictions != labels).double().mean().item()
    return disagreement / error if error else float("nan")


def predictions_of_members(
    ensemble: Ensemble, batches: Iterable[dict[str, Any]]
) -> tuple[Tensor, Tensor]:
    """Classes (members, N) that each member predicts, and the labels (N,).

    An image with a logit that is NaN or infinite has the class -1.
    """
    predicted, labels = [], []
    with torch.inference_mode():
        for batch in batches:
            members = ensemble.backbone.members
            logits = [member(batch["inputs"], mode="tensor") for member in members]
            predicted.append(torch.stack([_classes(each) for each in logits]))
            labels.append(batch["data_samples"])
    return torch.cat(predicted, 1), torch.cat(labels)


def _classes(logits: Tensor) -> Tensor:
    return torch.where(logits.isfinite().all(1), logits.argmax(1), -1)
