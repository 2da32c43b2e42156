"""The points that no other point beats: networks worth their cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.analysis.statistics.arrays import cost_sign
from tasks.errors import UserError


def pareto_front(
    points: ArrayLike, better: Sequence[str] = ("lower", "higher")
) -> NDArray[np.bool_]:
    """Which points are not dominated.

    A point dominates another if it is at least as good in everything and better in something. Equal
    points are on the front together.

    Args:
        points: shape (n, d), say a cost and a quality. A point with a NaN is not on the front and
            dominates nothing: what was not measured cannot be compared.
        better: d directions, ``"higher"`` or ``"lower"``.

    Returns:
        A mask of shape (n,).

    Raises:
        UserError: directions that are unknown or not one a column.
    """
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != len(better):
        raise UserError(
            f"points of shape {array.shape} need a column for each of {len(better)} directions"
        )
    costs = array * [cost_sign(direction) for direction in better]
    # In this order a point can only be dominated by an earlier one, so the first one left never is.
    left = np.lexsort(costs.T)
    left = left[~np.isnan(costs[left]).any(axis=1)]
    front = np.zeros(len(costs), dtype=np.bool_)
    while len(left):
        first, left = left[0], left[1:]
        front[first] = True
        at_least = (costs[left] >= costs[first]).all(axis=1)
        beyond = (costs[left] > costs[first]).any(axis=1)
        left = left[~(at_least & beyond)]
    return front
