"""Cosine similarity of gradients, of weights of different shapes too."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch.nn.functional as F
from torch import Tensor

from methods.superweight.grouping import Pair


def similarity(first: Tensor, second: Tensor) -> float:
    """Cosine of two gradients, cropped to the output and input channels that both have.

    A gradient of zeros is similar to nothing: 0.

    Args:
        first: (output channels, input channels, *kernel), or a vector.
        second: likewise, with the same kernel.
    """
    shared = tuple(slice(min(a, b)) for a, b in zip(first.shape[:2], second.shape[:2], strict=True))
    return F.cosine_similarity(first[shared].flatten(), second[shared].flatten(), dim=0).item()


def pairwise(gradients: Sequence[Tensor]) -> list[Pair]:
    """The similarity of every two gradients."""
    return [
        (similarity(gradients[i], gradients[j]), i, j)
        for i, j in combinations(range(len(gradients)), 2)
    ]
