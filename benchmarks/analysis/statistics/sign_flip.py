"""The sign-flip test: the permutation test of paired differences (Fisher 1935, section 21).

Were the two methods the same, each difference could as well have had the other sign. The p value is
the share of the 2**n sign patterns whose sum is as far from 0 as the one seen. It needs no normal
distribution, but n seeds have no p value below 2 / 2**n: 0.25 for three, 0.0625 for five.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.analysis.statistics.arrays import Array, as_sample

EXACT_UP_TO = 14
"""2**13 patterns; those with the first sign turned have the same absolute sum."""

RANDOM_PATTERNS = 9_999
_SEED = 0
_BLOCK = 2_000_000
_TIE = 1e-9
"""Sums that differ by no more, relative to the sum of sizes, are equal but for rounding."""


def sign_flip_p(differences: ArrayLike) -> float:
    """Two-sided p value of the hypothesis that differences are symmetric about 0.

    Exact for up to :data:`EXACT_UP_TO` seeds. Above, from :data:`RANDOM_PATTERNS` random patterns
    of a fixed seed and the one seen, so that it is never 0 (Phipson and Smyth 2010, equation 2).

    Args:
        differences: shape (n,), n >= 1.

    Raises:
        UserError: no difference, or one that is not finite.
    """
    return float(sign_flip_ps(as_sample(differences, "the differences")[None])[0])


def sign_flip_ps(differences: Array) -> Array:
    """:func:`sign_flip_p` of each row: (k, n) to (k,)."""
    k, n = differences.shape
    patterns = _patterns(n)
    size = max(1, _BLOCK // len(patterns))
    return np.concatenate(
        [_share(patterns, differences[i : i + size]) for i in range(0, k, size)] or [np.empty(0)]
    )


def _share(patterns: Array, differences: Array) -> Array:
    sums = np.abs(patterns @ differences.T)
    # The first pattern is the one seen: no sign turned.
    return (sums >= sums[0] - _TIE * np.abs(differences).sum(axis=1)).mean(axis=0)


@lru_cache(maxsize=32)
def _patterns(n: int) -> Array:
    """Sign patterns of shape (r, n), the first without a change."""
    if n <= EXACT_UP_TO:
        numbers = np.arange(2 ** (n - 1))
        return 1.0 - 2.0 * (numbers[:, None] >> np.arange(n) & 1)
    turned = np.random.default_rng(_SEED).integers(0, 2, (RANDOM_PATTERNS, n))
    return np.concatenate([np.ones((1, n)), 1.0 - 2.0 * turned])
