"""Whether a metric got worse beyond noise: the test of a regression gate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

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
STATED = "z test with the stated noise"
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

    @property
    def confidence(self) -> float | None:
        """1 - p."""
        return None if self.p_value is None else 1 - self.p_value


def worse_beyond_noise(
    before: ArrayLike,
    after: ArrayLike,
    better: str,
    alpha: float = 0.05,
    min_effect: float = 0.0,
    noise: float | None = None,
) -> Worsening:
    """Whether a metric got worse, by a one-sided test at level alpha.

    It is worse if both hold: p is at most alpha, and the worsening is larger than ``min_effect``.
    The second keeps a real but harmless change from failing a gate. Which test it is follows from
    what there is:

    ====================================  ==========================================================
    two values or more on both sides      Welch's t test (Welch 1947). Not a permutation test: with
                                          3 against 3 values that has no p below 0.05.
    a single value, ``noise`` stated      z test; each value has the stated standard deviation.
    a single value, two or more opposite  t test (Student) with the deviation of the other side.
    single values, no ``noise``           no test: the worsening against ``min_effect`` alone.
    all values of each side equal         no test: any worsening beyond ``min_effect`` is real, as
    (single values: ``noise=0``)          of an exact quantity.
    ====================================  ==========================================================

    Args:
        before: shape (n,), n >= 1, one a run.
        after: shape (m,), m >= 1.
        better: ``"higher"`` or ``"lower"``, as :data:`benchmarks.records.row.METRICS` has it.
        alpha: chance of calling worse what is not.
        min_effect: at least 0, in the metric's unit.
        noise: standard deviation of single runs, at least 0; used where a side has a single value.

    Raises:
        UserError: no values, one that is not finite, a metric without a better direction, or single
            values on both sides with neither noise nor a smallest effect.
    """
    sign = cost_sign(better)
    require_between(alpha, 0, 1, "alpha")
    if min_effect < 0 or (noise is not None and noise < 0):
        raise UserError("noise and smallest effect are sizes: give numbers from 0 up")
    old, new = as_sample(before, "the values before"), as_sample(after, "the values after")
    scale = float(max(np.abs(old).max(), np.abs(new).max()))
    (mean_old, var_old), (mean_new, var_new) = _moments(old, scale), _moments(new, scale)
    worsening = sign * (mean_new - mean_old)
    counts = worsening > min_effect + float(rounding(scale))
    n, m = len(old), len(new)
    if min(n, m) > 1:
        a, b = var_old / n, var_new / m
        error, test = math.sqrt(a + b), WELCH
        df = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1)) if error else 0.0
    elif noise is not None:
        error, df, test = noise * math.sqrt(1 / n + 1 / m), math.inf, STATED
    elif max(n, m) > 1:
        df, test = max(n, m) - 1, POOLED
        error = math.sqrt((var_old if n > m else var_new) * (1 / n + 1 / m))
    elif min_effect > 0:
        return Worsening(worsening, counts, None, TOLERANCE)
    else:
        raise UserError(
            "one run before and one after show no noise: run more seeds, or state the noise or the "
            "smallest effect that counts"
        )
    if error == 0:
        return Worsening(worsening, counts, None, EXACT)
    t = worsening / error
    p_value = float(special.ndtr(-t) if math.isinf(df) else special.stdtr(df, -t))
    return Worsening(worsening, counts and p_value <= alpha, p_value, test)


def _moments(values: Array, scale: float) -> tuple[float, float]:
    """Mean and sample variance; NaN of a single value."""
    mean, std, _ = moments(values[None], np.array([scale]))
    return float(mean[0]), float(std[0]) ** 2
