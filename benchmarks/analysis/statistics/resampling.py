"""Resampling of paired differences: the sign-flip test, and the bootstrap interval of a mean.

Few seeds are counted out, which SciPy does for neither: every sign pattern with sums that are equal
but for rounding taken as equal, and every resample. So nothing about them is random. More seeds are
SciPy's, from a fixed seed: the same values have the same p-value and interval always.

The sign-flip test (Fisher 1935, section 21): were the two methods the same, each difference could
as well have had the other sign. The p-value is the share of sign patterns whose sum is as far from
0 as the one seen. It needs no normal distribution, but n seeds have no p-value below 2 / 2**n: 0.25
for three, 0.0625 for five.

The bootstrap interval is by percentiles (Efron and Tibshirani 1993, chapter 13), not BCa: the bias
and the skewness that BCa corrects for would be estimated from the same three to five values, and it
covers no more of them. Of normal values a 95 % interval of either kind covers the true mean in
about 0.72 to 0.75 of samples of 3 and 0.84 of samples of 5. With so few values every bootstrap
interval is too narrow; the t interval is shown beside it, and decides.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np

from benchmarks.analysis.statistics.arrays import Array, require_between

PATTERNS_UP_TO = 14
"""2**13 patterns; those with the first sign turned have the same absolute sum."""

RESAMPLES_UP_TO = 7
"""1,716 distinct resamples of 7 values."""

RANDOM_PATTERNS = 9_999
RANDOM_RESAMPLES = 10_000
_BLOCK = 2_000_000
"""Numbers in one block of work."""
_TIE = 1e-9
"""Sums that differ by no more, relative to the sum of sizes, are equal but for rounding."""
_FUZZ = 1e-9


def sign_flip_ps(differences: Array) -> Array:
    """Two-sided p-values of the hypothesis that differences are symmetric about 0.

    Exact for up to :data:`PATTERNS_UP_TO` seeds. Above, from :data:`RANDOM_PATTERNS` random
    patterns and the one seen, so that none is 0 (Phipson and Smyth 2010, equation 2).

    Args:
        differences: shape (k, n), n >= 1: k comparisons of n seeds.

    Returns:
        Shape (k,).
    """
    n = differences.shape[1]
    if n <= PATTERNS_UP_TO:
        return _by_blocks(_exact_ps, differences, 2 ** (n - 1))
    return _by_blocks(_random_ps, differences, RANDOM_PATTERNS * n)


def percentile_bounds(centred: Array, confidence: float = 0.95) -> Array:
    """Bounds of the bootstrapped means of many samples of one size, which share their resamples.

    Exact for up to :data:`RESAMPLES_UP_TO` values. Above, from :data:`RANDOM_RESAMPLES`.

    Args:
        centred: values minus their mean, shape (k, n), n >= 2.
        confidence: between 0 and 1.

    Returns:
        Lower and upper bounds relative to the mean, shape (k, 2).

    Raises:
        UserError: a confidence that is none.
    """
    require_between(confidence, 0, 1, "the confidence")
    n = centred.shape[1]
    if n <= RESAMPLES_UP_TO:
        tail = (1 - confidence) / 2
        return _by_blocks(lambda rows: _exact_bounds(rows, tail), centred, math.comb(2 * n - 1, n))
    return _by_blocks(lambda rows: _random_bounds(rows, confidence), centred, RANDOM_RESAMPLES * n)


def _by_blocks(function: Callable[[Array], Array], rows: Array, numbers: int) -> Array:
    """What the function makes of the rows; it takes memory for so many numbers for each."""
    size = max(1, _BLOCK // numbers)
    return np.concatenate([function(rows[i : i + size]) for i in range(0, len(rows), size)])


def _exact_ps(differences: Array) -> Array:
    sums = np.abs(_patterns(differences.shape[1]) @ differences.T)
    # The first pattern is the one seen: no sign turned.
    return (sums >= sums[0] - _TIE * np.abs(differences).sum(axis=1)).mean(axis=0)


def _random_ps(differences: Array) -> Array:
    from scipy import stats

    return stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RANDOM_PATTERNS,
        axis=1,
        random_state=np.random.default_rng(0),
    ).pvalue


def _exact_bounds(centred: Array, tail: float) -> Array:
    n = centred.shape[1]
    counts, weights = _every_resample(n)
    means = counts @ centred.T / n
    order = np.argsort(means, axis=0)
    means = np.take_along_axis(means, order, axis=0)
    weights = weights[order]
    below = np.cumsum(weights, axis=0)
    above = float(n**n) - below + weights
    target = (tail - _FUZZ) * n**n
    lower = (below < target).sum(axis=0)
    upper = len(means) - 1 - (above < target).sum(axis=0)
    columns = np.arange(len(centred))
    return np.stack([means[lower, columns], means[upper, columns]], axis=1)


def _random_bounds(centred: Array, confidence: float) -> Array:
    from scipy import stats

    interval = stats.bootstrap(
        (centred,),
        np.mean,
        method="percentile",
        vectorized=True,
        confidence_level=confidence,
        n_resamples=RANDOM_RESAMPLES,
        axis=1,
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return np.stack([interval.low, interval.high], axis=1)


@lru_cache(maxsize=PATTERNS_UP_TO)
def _patterns(n: int) -> Array:
    """Sign patterns of shape (r, n), the first without a change."""
    return 1.0 - 2.0 * (np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1)


@lru_cache(maxsize=RESAMPLES_UP_TO)
def _every_resample(n: int) -> tuple[Array, Array]:
    """How often a distinct resample holds each value (r, n), and in how many orders (r,)."""
    counts, weights = [], []
    for chosen in combinations_with_replacement(range(n), n):
        times = Counter(chosen)
        counts.append([times[i] for i in range(n)])
        weights.append(math.factorial(n) // math.prod(map(math.factorial, times.values())))
    return np.array(counts, dtype=np.float64), np.array(weights, dtype=np.float64)
