"""Whether a metric got worse beyond noise: the test of a regression gate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.analysis.statistics.arrays import (
    Array,
    as_sample,
    cost_sign,
    moments,
    require_between,
    rounding,
)
from tasks.errors import UserError

WELCH = "Welch's t test"
POOLED = "t test with the deviation of one side"
TOLERANCE = "tolerance"
EXACT = "exact"


@dataclass(frozen=True)
class Worsening:
    """What a comparison of after with before found.

    Attributes:
        worsening: difference of means in the metric's unit, positive where after is worse.
        worse: whether it is beyond noise and larger than the smallest effect that counts.
        p_value: one-sided, of the hypothesis that after is no worse; None where the test is
            ``exact`` or ``tolerance``, which know no noise.
        test: what was done, one of the names in this module.
    """

    worsening: float
    worse: bool
    p_value: float | None
    test: str


def worse_beyond_noise(
    before: ArrayLike,
    after: ArrayLike,
    better: str,
    alpha: float = 0.05,
    min_effect: float = 0.0,
    exact: bool = False,
) -> Worsening:
    """Whether a metric got worse, by a one-sided test at level alpha.

    It is worse if both hold: p is at most alpha, and the worsening is larger than ``min_effect``.
    The second keeps a real but harmless change from failing a gate. Which test it is follows from
    what there is:

    ====================================  ==========================================================
    two values or more on both sides      Welch's t test (Welch 1947). Not a permutation test: with
                                          3 against 3 values that has no p below 0.05.
    a single value, two or more opposite  t test (Student) with the deviation of the other side.
    single values                         no test: the worsening against ``min_effect`` alone.
    all values of each side equal         no test: any worsening beyond ``min_effect`` is real, as
    (single values: if ``exact``)         of an exact quantity.
    ====================================  ==========================================================

    Args:
        before: shape (n,), n >= 1, one a run.
        after: shape (m,), m >= 1.
        better: ``"higher"`` or ``"lower"``, as :data:`benchmarks.records.row.METRICS` has it.
        alpha: chance of calling worse what is not.
        min_effect: at least 0, in the metric's unit.
        exact: whether single values are known to be without noise, as counts are.

    Raises:
        UserError: no values, one that is not finite, a metric without a better direction, or single
            values on both sides that are not exact, without a smallest effect.
    """
    sign = cost_sign(better)
    require_between(alpha, 0, 1, "alpha")
    if min_effect < 0:
        raise UserError(f"the smallest effect is {min_effect}: give a number from 0 up")
    old, new = as_sample(before, "the values before"), as_sample(after, "the values after")
    scale = float(max(np.abs(old).max(), np.abs(new).max()))
    (mean_old, std_old), (mean_new, std_new) = _moments(old, scale), _moments(new, scale)
    worsening = sign * (mean_new - mean_old)
    counts = worsening > min_effect + float(rounding(scale))
    n, m = len(old), len(new)
    if n == m == 1 and not exact:
        if min_effect > 0:
            return Worsening(worsening, counts, None, TOLERANCE)
        raise UserError(
            "one run before and one after show no noise: run more seeds, or state the smallest "
            "effect that counts"
        )
    if std_old == std_new == 0:
        return Worsening(worsening, counts, None, EXACT)
    from scipy import stats

    pooled = min(n, m) == 1
    p_value = float(
        stats.ttest_ind_from_stats(
            *(sign * mean_new, std_new, m),
            *(sign * mean_old, std_old, n),
            equal_var=pooled,
            alternative="greater",
        ).pvalue
    )
    return Worsening(worsening, counts and p_value <= alpha, p_value, POOLED if pooled else WELCH)


def _moments(values: Array, scale: float) -> tuple[float, float]:
    """Mean and sample standard deviation; 0 of a single value."""
    mean, std, _ = moments(values[None], np.array([scale]))
    return float(mean[0]), float(std[0]) if len(values) > 1 else 0.0
