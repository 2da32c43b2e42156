"""Two methods compared by the differences of runs with the same seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.analysis.statistics.arrays import Array, moments, require_between, require_finite
from benchmarks.analysis.statistics.independent import EXACT
from benchmarks.analysis.statistics.resampling import percentile_bounds, sign_flip_ps
from benchmarks.analysis.statistics.samples import Effect, Interval
from tasks.errors import UserError

PAIRED_T, SIGN_FLIP = "paired t test", "sign-flip test"


@dataclass(frozen=True)
class PairedDifference:
    """The differences of n pairs, in the metric's unit.

    Attributes:
        mean: of a minus b.
        std: sample standard deviation (n - 1) of the differences; None for one pair.
        n: pairs.
        confidence: of both intervals; None where none was requested.
        t_interval: mean ± t(n - 1) std / sqrt(n); a point where the differences are all equal.
        bootstrap_interval: by percentiles, see :mod:`.resampling`.
        p_value: two-sided paired t test, the main one. With 3 to 5 seeds the sign-flip test cannot
            reach 0.05 however large the difference is, and the t test can; it takes normal
            differences for granted, which means over a test set are nearly. None where the
            differences are all equal: there is no deviation to compare them with.
        p_sign_flip: two-sided, takes no distribution for granted; None for one pair.
    """

    mean: float
    std: float | None
    n: int
    confidence: float | None = None
    t_interval: Interval | None = None
    bootstrap_interval: Interval | None = None
    p_value: float | None = None
    p_sign_flip: float | None = None

    @property
    def constant(self) -> bool:
        """Whether all differences are equal: as with exact quantities, such as parameters."""
        return self.std == 0

    @property
    def effect(self) -> Effect:
        """The mean with its main test: the sign-flip test where equal differences have no t test.

        Accuracy comes in steps of an image, so that equal differences are a coincidence, no proof.
        """
        if self.n == 1:
            return Effect(self.mean, None, "", "only one seed that both have: run more")
        if not self.constant:
            return Effect(self.mean, self.p_value, PAIRED_T)
        if self.mean == 0:
            return Effect(0.0, None, EXACT, "the same value in every seed")
        reason = "all differences are equal, so that a t test has no std to use"
        return Effect(self.mean, self.p_sign_flip, SIGN_FLIP, reason)


@dataclass(frozen=True)
class PairedRatio:
    """The ratios a / b of n pairs; without a unit.

    Attributes:
        mean: their geometric mean, so that b / a has the inverse.
        logs: the difference of logarithms that everything comes from.
    """

    mean: float
    logs: PairedDifference

    @property
    def t_interval(self) -> Interval | None:
        """Of the mean ratio, from the t interval of the logarithms."""
        return _exp(self.logs.t_interval)

    @property
    def bootstrap_interval(self) -> Interval | None:
        """Of the mean ratio, by percentiles."""
        return _exp(self.logs.bootstrap_interval)


def paired_differences(
    a: Sequence[ArrayLike], b: Sequence[ArrayLike], confidence: float | None = 0.95
) -> list[PairedDifference]:
    """Mean, deviation, intervals and tests of each a minus its b, thousands at a time.

    Args:
        a: k arrays of a method's values, shapes (n_1,), (n_2,), ..., in the order of the seeds; the
            n may differ.
        b: the other's, of the same shapes, with the same seeds.
        confidence: of the intervals; None for no intervals, then one pair is enough.

    Raises:
        UserError: different numbers of seeds, fewer than two where an interval is requested, or a
            value that is not finite.
    """
    if confidence is not None:
        require_between(confidence, 0, 1, "the confidence")
    if len(a) != len(b):
        raise UserError(f"{len(a)} samples cannot be paired with {len(b)}: give as many of both")
    by_size: dict[int, list[int]] = {}
    pairs = []
    for i, (left, right) in enumerate(zip(a, b, strict=True)):
        pair = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
        if pair[0].ndim != 1 or pair[0].shape != pair[1].shape:
            raise UserError(
                f"values of shape {pair[0].shape} cannot be paired with {pair[1].shape}: give one "
                "value a seed, and the same seeds for both"
            )
        pairs.append(pair)
        by_size.setdefault(len(pair[0]), []).append(i)
    least = 1 if confidence is None else 2
    if by_size and min(by_size) < least:
        raise UserError(
            "an interval needs at least 2 seeds that both methods have: run more"
            if confidence is not None
            else "there is no seed that both methods have: run one"
        )
    found: dict[int, PairedDifference] = {}
    for indices in by_size.values():
        lefts = np.stack([pairs[i][0] for i in indices])
        rights = np.stack([pairs[i][1] for i in indices])
        found.update(zip(indices, _compare(lefts, rights, confidence), strict=True))
    return [found[i] for i in range(len(pairs))]


def _compare(a: Array, b: Array, confidence: float | None) -> list[PairedDifference]:
    """Rows of a (k, n) against those of b (k, n)."""
    require_finite(a, "the values")
    require_finite(b, "the values")
    n = a.shape[1]
    scale = np.maximum(np.abs(a).max(axis=1), np.abs(b).max(axis=1))
    differences = a - b
    mean, std, centred = moments(differences, scale)
    if n == 1:
        return [PairedDifference(m, None, 1) for m in mean.tolist()]
    p_values, low, high = np.full_like(mean, np.nan), mean.copy(), mean.copy()
    varied = std > 0
    if varied.any():
        from scipy import stats

        tested = stats.ttest_rel(a[varied], b[varied], axis=1)
        p_values[varied] = tested.pvalue
        if confidence is not None:
            low[varied], high[varied] = tested.confidence_interval(confidence)
    columns = [mean, std, p_values, sign_flip_ps(differences)]
    if confidence is not None:
        bounds = mean[:, None] + percentile_bounds(centred, confidence)
        columns += [low, high, bounds[:, 0], bounds[:, 1]]
    results = []
    for m, s, p, flip, *ends in np.stack(columns, axis=1).tolist():
        t = Interval(ends[0], ends[1]) if ends else None
        bootstrap = Interval(ends[2], ends[3]) if ends else None
        p_value = p if s > 0 else None
        results.append(PairedDifference(m, s, n, confidence, t, bootstrap, p_value, flip))
    return results


def _exp(interval: Interval | None) -> Interval | None:
    return interval and Interval(math.exp(interval.low), math.exp(interval.high))
