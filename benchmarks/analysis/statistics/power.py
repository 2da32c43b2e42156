"""The chance of a verdict with n seeds, and the seeds that a verdict takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.analysis.statistics.arrays import Array, require_between
from tasks.errors import UserError

MOST_SEEDS = 1000
POWER = 0.8
"""The chance of a verdict that seeds are planned for."""
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(64)
_REACH = 8.0
"""Standard deviations to either side within which a sample deviation lies, but for 1e-10."""


def verdict_power(
    n: ArrayLike, std: float, tolerance: float, difference: float = 0.0, alpha: float = 0.05
) -> Array:
    """The chance that n seeds reach the verdict that is true, for normal values.

    Equivalence where the true difference is inside the tolerance, contradiction where it is not,
    as :func:`.equivalence.judge` tests them. A t statistic off its null
    hypothesis is noncentral t: normal, given the sample's deviation, and averaged over that. For
    contradiction the average is the tail of one noncentral t. Equivalence takes two, which share
    the deviation, so that they are averaged together (Owen 1965, as Phillips 1990 applies it); the
    difference of their two tails is too low for few seeds.

    Args:
        n: numbers of seeds, each >= 2, any shape.
        std: true standard deviation over seeds, at least 0.
        tolerance: half the width of the band about 0.
        difference: the true difference.
        alpha: the level, as in the tests.

    Returns:
        Probabilities, in the shape of n.
    """
    from scipy import stats

    n = np.asarray(n, dtype=np.float64)
    if std == 0:
        return np.ones(n.shape)
    inside = abs(difference) < tolerance
    df = n - 1
    t = stats.t.ppf(1 - (alpha if inside else alpha / 2), df)
    per_error = np.sqrt(n) / std
    # The sample deviation over the true one: its mean is nearly 1, its deviation 1 / sqrt(2 df).
    spread = _REACH / np.sqrt(2 * df)
    low, high = np.maximum(0.0, 1 - spread), 1 + spread
    if inside:
        # Above this deviation the interval is wider than the band.
        high = np.maximum(low, np.minimum(high, tolerance * per_error / t))
    half = (high - low)[..., None] / 2
    u = low[..., None] + half * (_NODES + 1)
    t_u, per_error = t[..., None] * u, per_error[..., None]
    if inside:
        upper = (tolerance - difference) * per_error - t_u
        lower = -(tolerance + difference) * per_error + t_u
        chance = stats.norm.cdf(upper) - stats.norm.cdf(lower)
    else:
        chance = stats.norm.cdf((abs(difference) - tolerance) * per_error - t_u)
    density = stats.chi.pdf(u, df[..., None], scale=1 / np.sqrt(df[..., None]))
    return np.clip((half * _NODE_WEIGHTS * density * chance).sum(-1), 0, 1)


def seeds_needed(
    std: float,
    tolerance: float,
    difference: float = 0.0,
    *,
    have: int = 0,
    alpha: float = 0.05,
) -> int | None:
    """How many seeds beyond those at hand a verdict would need.

    The smallest number that reaches the true verdict with the chance :data:`POWER`, were the true
    deviation and difference as given. Deviations of three seeds are themselves uncertain by half or
    more, and so is this number. With a tolerance of 0 it is for showing that two methods differ.

    Args:
        std: standard deviation over seeds, at least 0.
        tolerance: half the width of the band about 0.
        difference: the true difference: 0 to plan a reproduction, else that of a sample.
        have: seeds at hand.
        alpha: the level of the tests.

    Returns:
        At least 0; None where :data:`MOST_SEEDS` in total are not enough.

    Raises:
        UserError: a negative deviation or tolerance, or a level that is none.
    """
    require_between(alpha, 0, 0.5, "alpha")
    if not (0 <= std < np.inf and 0 <= tolerance < np.inf and np.isfinite(difference)):
        raise UserError(
            "seeds cannot be planned without a finite deviation and tolerance from 0 up"
        )

    def first(tried: Array) -> int | None:
        enough = verdict_power(tried, std, tolerance, difference, alpha) >= POWER
        return int(np.argmax(enough)) if enough.any() else None

    # A coarse search, then every number in the gap: above alpha, the power rises with n.
    coarse = np.unique(np.geomspace(2, MOST_SEEDS, 32).round())
    found = first(coarse)
    if found is None:
        return None
    every = np.arange(coarse[found - 1] + 1 if found else 2, coarse[found] + 1)
    return max(0, int(every[first(every) or 0]) - have)
