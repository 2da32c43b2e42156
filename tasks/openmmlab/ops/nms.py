"""Greedy and soft non-maximum suppression, as `mmcv._ext` has them."""

from __future__ import annotations

import numpy as np
import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from .precision import computable

# The methods of soft-NMS by mmcv's numbers; 0 is the naive one.
LINEAR, GAUSSIAN = 1, 2


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
    left, top, right, bottom = np.ascontiguousarray(computable(boxes).cpu().numpy().T)
    right, bottom = right + offset, bottom + offset
    areas = (right - left) * (bottom - top)
    lowered = computable(scores).cpu().numpy().copy()
    alive = np.ones(len(lowered), dtype=bool)
    kept: list[int] = []
    while alive.any():
        best = int(np.where(alive, lowered, -np.inf).argmax())
        kept.append(best)
        alive[best] = False
        width = np.minimum(right, right[best]) - np.maximum(left, left[best])
        height = np.minimum(bottom, bottom[best]) - np.maximum(top, top[best])
        inter = width.clip(0) * height.clip(0)
        union = areas + areas[best] - inter
        # Two boxes without area overlap in nothing.
        overlap = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
        lowered[alive] *= _weight(overlap[alive], iou_threshold, sigma, method)
        alive &= lowered >= min_score
    indices = torch.tensor(kept, dtype=torch.long, device=boxes.device)
    dets[: len(kept), :4] = boxes[indices]
    dets[: len(kept), 4] = torch.from_numpy(lowered[kept])
    return indices


def _weight(overlap: np.ndarray, iou_threshold: float, sigma: float, method: int) -> np.ndarray:
    if method == GAUSSIAN:
        return np.exp(-np.square(overlap) / sigma)
    factor = 1 - overlap if method == LINEAR else np.zeros_like(overlap)
    return np.where(overlap >= iou_threshold, factor, np.ones_like(overlap))
