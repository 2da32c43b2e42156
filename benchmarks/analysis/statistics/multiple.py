"""Many tests at once: p values adjusted so that their number does not make chance findings."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.analysis.statistics.arrays import Array
from tasks.errors import UserError


def false_discovery_adjusted(p_values: ArrayLike) -> Array:
    """Adjusted p values of Benjamini and Hochberg (1995).

    Where those are rejected whose adjusted p is at most alpha, on average a share of at most alpha
    of the rejections is wrong; and where all hypotheses are true, the chance to reject any is at
    most alpha. This holds for independent tests and for those that rise and fall together.

    Args:
        p_values: shape (m,), from 0 to 1.

    Returns:
        Shape (m,): the smallest over j >= i of m p_(j) / j, in the order given.

    Raises:
        UserError: another shape, or a number that is no p value.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise UserError("adjusted p values need a plain list of p values from 0 to 1")
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return np.minimum(adjusted, 1.0)
