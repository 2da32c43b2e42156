"""Two sets of runs that have no seeds in common: a regression's before and after."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.analysis.statistics.arrays import Array, as_sample, moments, rounding
from benchmarks.analysis.statistics.samples import Effect
from tasks.errors import unknown_name

WELCH = "Welch's t test"
POOLED = "t test with the std of one side"
EXACT = "exact"
ALTERNATIVES = ("greater", "less")


def independent_effect(a: ArrayLike, b: ArrayLike, alternative: str) -> Effect:
    """The difference of the means of a and b, by a one-sided test.

    Which test it is follows from what there is:

    ====================================  ==========================================================
    two values or more on both sides      Welch's t test (Welch 1947). Not a permutation test: with
                                          3 against 3 values that has no p below 0.05.
    a single value, two or more opposite  t test (Student) with the std of the other side.
    all values of each side equal         no test: any difference is real, as of an exact quantity.
    a single value on both sides          none: ``test`` is empty.
    ====================================  ==========================================================

    Args:
        a: shape (n,), n >= 1, one a run.
        b: shape (m,), m >= 1.
        alternative: what p is small for: a mean of a that is ``"greater"`` or ``"less"``.

    Raises:
        UserError: no values, one that is not finite, or another alternative.
    """
    if alternative not in ALTERNATIVES:
        raise unknown_name("alternative", alternative, ALTERNATIVES)
    left, right = as_sample(a), as_sample(b)
    scale = float(max(np.abs(left).max(), np.abs(right).max()))
    (mean_a, std_a), (mean_b, std_b) = _moments(left, scale), _moments(right, scale)
    difference = mean_a - mean_b
    if abs(difference) <= float(rounding(scale)):
        difference = 0.0
    n, m = len(left), len(right)
    if n == m == 1:
        return Effect(difference, None, "", "one run on each side shows no noise")
    if std_a == std_b == 0:
        return Effect(difference, None, EXACT)
    from scipy import stats

    pooled = min(n, m) == 1
    tested = stats.ttest_ind_from_stats(
        mean_a, std_a, n, mean_b, std_b, m, equal_var=pooled, alternative=alternative
    )
    return Effect(difference, float(tested.pvalue), POOLED if pooled else WELCH)


def _moments(values: Array, scale: float) -> tuple[float, float]:
    """Mean and sample standard deviation; 0 of a single value."""
    mean, std, _ = moments(values[None], np.array([scale]))
    return float(mean[0]), float(std[0]) if len(values) > 1 else 0.0
