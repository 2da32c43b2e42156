"""Greedy and soft non-maximum suppression, as `mmcv._ext` has them."""

from __future__ import annotations

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from tasks.openmmlab.ops.precision import computable


@torch.no_grad()
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy NMS: drop a box whose IoU with a kept box of higher score exceeds the threshold.

    Args:
        boxes: (N, 4), x1, y1, x2, y2 in pixels.
        scores: (N,).
        iou_threshold: in [0, 1].
        offset: 0 or 1, added to every width and height (1: a box holds its last pixel).

    Returns:
        Indices of the kept boxes, int64, highest score first.
    """
    boxes = computable(boxes)
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    # mmcv compares in float32: 0.6 as a double would drop a box whose IoU is 0.6 in float32.
    threshold = torch.tensor(iou_threshold, dtype=torch.float32).item()
    return torch.ops.torchvision.nms(boxes, computable(scores).to(boxes.dtype), threshold)


NAIVE, LINEAR, GAUSSIAN = 0, 1, 2


@torch.no_grad()
def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (Bodla et al., 2017): overlap with a kept box lowers a score instead of dropping.

    Boxes whose score falls below `min_score` are discarded. The order among equal scores is not
    that of compiled mmcv, whose loop swaps discarded boxes with the last one.

    Args:
        boxes: (N, 4), x1, y1, x2, y2 in pixels.
        scores: (N,).
        dets: (N, 5), written in place: the K kept boxes with their lowered scores come first.
        iou_threshold: overlap from which the naive and linear methods act.
        sigma: of the Gaussian method.
        min_score: lowest score that is kept.
        method: 0 naive (weight 0), 1 linear (1 - IoU), 2 Gaussian (exp(-IoU^2 / sigma)).
        offset: 0 or 1, added to every width and height.

    Returns:
        Indices of the kept boxes, int64, (K,), in the order of `dets`.
    """
    left, top, right, bottom = computable(boxes).unbind(1)
    right, bottom = right + offset, bottom + offset
    areas = (right - left) * (bottom - top)
    scores = computable(scores).clone()
    alive = torch.arange(len(scores), device=scores.device)
    kept: list[int] = []
    while len(alive):
        best = int(alive[scores[alive].argmax()])
        dets[len(kept), :4] = boxes[best].to(dets.dtype)
        dets[len(kept), 4] = scores[best].to(dets.dtype)
        kept.append(best)
        alive = alive[alive != best]
        width = (right[alive].clamp(max=right[best]) - left[alive].clamp(min=left[best])).clamp(0)
        height = (bottom[alive].clamp(max=bottom[best]) - top[alive].clamp(min=top[best])).clamp(0)
        inter = width * height
        # Two boxes without area overlap in nothing: 0 / 0 counts as 0.
        overlap = (inter / (areas[best] + areas[alive] - inter)).nan_to_num(0)
        scores[alive] *= _weight(overlap, iou_threshold, sigma, method)
        alive = alive[scores[alive] >= min_score]
    return torch.tensor(kept, dtype=torch.long, device=boxes.device)


def _weight(overlap: Tensor, iou_threshold: float, sigma: float, method: int) -> Tensor:
    if method == GAUSSIAN:
        return torch.exp(-overlap.square() / sigma)
    lowered = 1 - overlap if method == LINEAR else torch.zeros_like(overlap)
    return torch.where(overlap >= iou_threshold, lowered, torch.ones_like(overlap))
