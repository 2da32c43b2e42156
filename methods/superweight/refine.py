"""New clusters from the gradients of layers that shared templates for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from methods.superweight.allocation import minimum
from methods.superweight.chain import Shape
from methods.superweight.clusters import Assignment
from methods.superweight.grouping import Pair
from methods.superweight.similarity import pairwise, similarity

Grouping = Callable[[Sequence[Pair], int, float], list[list[int]]]
STEP = 0.05

User = tuple[int, int]
"""Member and layer."""


def leaders(shapes: Sequence[Sequence[Shape]]) -> list[int]:
    """For each member, the first member with the same kernels layer by layer.

    Members copy their leader's clusters, so that only gradients of leaders are needed.
    """
    kernels = [[shape[2:] for shape in member] for member in shapes]
    return [kernels.index(member) for member in kernels]


def refine(
    start: Assignment,
    shapes: Sequence[Sequence[Shape]],
    gradients: Mapping[User, Tensor],
    threshold: float,
    budget: int,
    group: Grouping,
) -> Assignment:
    """Split every cluster where the gradients of its layers disagree.

    The layers of member 0 are grouped within each cluster. A layer of the first member of each
    other depth joins the group of the most similar layer of member 0 in its cluster; members of
    the same depth copy by index. As long as the minimum bank is above the budget the threshold
    falls by 0.05; below -1, where no pair is left out, ``start`` is the answer.

    Source: section 2.2.1 and algorithm 1 of the supplement.

    Args:
        start: the clusters in which the gradients were taken.
        shapes: weight shapes of each member's layers.
        gradients: of the composed weights of every leader's layers, see :func:`leaders`.
        threshold: pairs above it share templates.
        budget: elements that all templates together may have.
        group: Algorithm 1 or its official variant.
    """
    first = {
        cluster: [n for n, c in enumerate(start[0]) if c == cluster]
        for cluster in {c for member in start for c in member}
    }
    pairs = {c: pairwise([gradients[0, n] for n in layers]) for c, layers in first.items()}
    models = _models(start, first, gradients, leaders(shapes))
    while threshold >= -1:
        group_of: dict[int, Any] = {}
        for cluster, layers in first.items():
            for number, members in enumerate(group(pairs[cluster], len(layers), threshold)):
                group_of |= {layers[item]: (cluster, number) for item in members}
        found = _numbered(
            [
                [
                    (c, -1) if model is None else group_of[model]
                    for c, model in zip(*pair, strict=True)
                ]
                for pair in zip(start, models, strict=True)
            ]
        )
        if minimum(shapes, found) <= budget:
            return found
        threshold -= STEP
    return start


def _models(
    start: Assignment,
    first: Mapping[int, Sequence[int]],
    gradients: Mapping[User, Tensor],
    leading: Sequence[int],
) -> list[list[int | None]]:
    """The layer of member 0 that each layer follows; None where its cluster has none."""
    models: list[list[int | None]] = []
    for member, leader in enumerate(leading):
        if leader < member:
            models.append(models[leader])
        elif member == 0:
            models.append(list(range(len(start[0]))))
        else:
            models.append(
                [
                    max(
                        first[cluster],
                        key=lambda n, g=gradients[member, layer]: similarity(g, gradients[0, n]),
                        default=None,
                    )
                    for layer, cluster in enumerate(start[member])
                ]
            )
    return models


def _numbered(keys: Sequence[Sequence[tuple[int, int]]]) -> Assignment:
    order = sorted({key for member in keys for key in member})
    return tuple(tuple(order.index(key) for key in member) for member in keys)
