"""Agreement with a number within a tolerance, the verdict on it, and the seeds that it takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.analysis.statistics.arrays import (
    Array,
    as_sample,
    moments,
    require_between,
    rounding,
)
from benchmarks.analysis.statistics.power import seeds_needed
from benchmarks.analysis.statistics.samples import Interval
from tasks.errors import UserError

REPRODUCED, CONTRADICTED, UNDERPOWERED = "reproduced", "contradicted", "underpowered"


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided t tests (TOST: Schuirmann 1987) of |true difference| >= tolerance.

    Attributes:
        difference: mean minus reference, or mean of a minus b.
        std: sample standard deviation (n - 1).
        n: seeds.
        tolerance: half the width of the band about 0.
        alpha: the level of each of the two tests.
        narrow: the 1 - 2 alpha t interval. It lies inside the band exactly if both tests reject.
            Where all values are equal it is a point, and the point is judged, as of an exact
            quantity.
        wide: the 1 - alpha t interval, for the opposite: it lies outside the band.
        slack: what rounding may have added to the difference of two printed numbers.
    """

    difference: float
    std: float
    n: int
    tolerance: float
    alpha: float
    narrow: Interval
    wide: Interval
    slack: float

    @property
    def established(self) -> bool:
        """Whether the values agree within the tolerance."""
        edge = self.tolerance + self.slack
        return -edge <= self.narrow.low and self.narrow.high <= edge

    @property
    def excluded(self) -> bool:
        """Whether the values disagree by more than the tolerance."""
        edge = self.tolerance + self.slack
        return self.wide.low > edge or self.wide.high < -edge


@dataclass(frozen=True)
class Judgement:
    """What a sample says about a number.

    Attributes:
        verdict: ``reproduced``, ``contradicted`` or ``underpowered``.
        reason: one sentence with the interval that decided, in the unit of the values.
        more_seeds: further seeds for a verdict with a chance of 0.8, were the true difference and
            deviation those of the sample; 0 where there is one. None where it is not known (one
            seed has no deviation) or where no reasonable number would do.
    """

    verdict: str
    reason: str
    more_seeds: int | None


def tost(values: ArrayLike, reference: float, tolerance: float, alpha: float = 0.05) -> Equivalence:
    """Whether the mean is a reported number, give or take a tolerance.

    Args:
        values: shape (n,), n >= 2, one a seed.
        reference: the reported number, taken as it is: its own spread is what the tolerance is for.
        tolerance: at least 0, in the unit of the values.
        alpha: the level of each of the two tests.

    Raises:
        UserError: fewer than two values, one that is not finite, or a negative tolerance.
    """
    array = as_sample(values, least=2)
    scale = max(float(np.abs(array).max()), abs(reference))
    return _tost(array - as_sample([reference], "the reported numbers"), scale, tolerance, alpha)


def tost_paired(a: ArrayLike, b: ArrayLike, tolerance: float, alpha: float = 0.05) -> Equivalence:
    """Whether two methods are the same, give or take a tolerance, by differences of equal seeds.

    Args:
        a: shape (n,), n >= 2, in the order of the seeds.
        b: shape (n,), the same seeds.
        tolerance: at least 0, in the unit of the values.
        alpha: the level of each of the two tests.

    Raises:
        UserError: as :func:`tost`, or different numbers of seeds.
    """
    left, right = as_sample(a, least=2), as_sample(b, least=2)
    if len(left) != len(right):
        raise UserError(
            f"{len(left)} values cannot be paired with {len(right)}: give the same seeds for both"
        )
    scale = float(max(np.abs(left).max(), np.abs(right).max()))
    return _tost(left - right, scale, tolerance, alpha)


def judge(values: ArrayLike, reference: float, tolerance: float) -> Judgement:
    """The verdict on a reported number.

    The three verdicts are tested at once (Goeman, Solari and Stijnen 2010): the true difference is
    in the band, above it or below it, one of the three, so that each may be tested at 0.05 without
    a correction. Hence the wide interval for ``contradicted``, with 0.025 on either side, and the
    narrow one for ``reproduced``. A wrong ``contradicted`` and a wrong ``reproduced`` both have a
    probability of at most 0.05.

    Args:
        values: shape (n,), n >= 1, one a seed; one seed alone is underpowered.
        reference: the reported number.
        tolerance: at least 0, in the unit of the values.

    Raises:
        UserError: no value, one that is not finite, or a negative tolerance.
    """
    array = as_sample(values)
    if len(array) == 1:
        _require_tolerance(tolerance)
        reason = "one seed has no deviation to judge by: run at least one more"
        return Judgement(UNDERPOWERED, reason, None)
    tested = tost(array, reference, tolerance)
    if tested.established:
        return Judgement(REPRODUCED, _reason(tested, "lies within"), 0)
    if tested.excluded:
        return Judgement(CONTRADICTED, _reason(tested, "lies outside"), 0)
    more = seeds_needed(tested.std, tolerance, tested.difference, have=tested.n, alpha=tested.alpha)
    more = more and max(1, more)
    return Judgement(UNDERPOWERED, _reason(tested, "is not clear of the edge of"), more)


def _require_tolerance(tolerance: float) -> None:
    if not 0 <= tolerance < float("inf"):
        raise UserError(f"the tolerance is {tolerance}: give a number from 0 up")


def _tost(differences: Array, scale: float, tolerance: float, alpha: float) -> Equivalence:
    _require_tolerance(tolerance)
    require_between(alpha, 0, 0.5, "alpha")
    means, stds, _ = moments(differences[None], np.array([scale]))
    mean, std, n = float(means[0]), float(stds[0]), len(differences)
    narrow, wide = Interval(mean, mean), Interval(mean, mean)
    if std > 0:
        from scipy import stats

        tested = stats.ttest_1samp(differences, 0.0)
        narrow, wide = (
            Interval(*map(float, tested.confidence_interval(1 - share * alpha))) for share in (2, 1)
        )
    slack = float(rounding(scale))
    return Equivalence(mean, std, n, tolerance, alpha, narrow, wide, slack)


def _reason(tested: Equivalence, how: str) -> str:
    if tested.std == 0:
        return (
            f"all {tested.n} seeds differ by {tested.difference:.4g}, which {how} "
            f"±{tested.tolerance:g}; equal values are judged as exact"
        )
    narrow = how != "lies outside"
    interval = tested.narrow if narrow else tested.wide
    level = 100 * (1 - (2 if narrow else 1) * tested.alpha)
    return (
        f"the {level:g} % interval of the difference, {interval.low:.4g} to {interval.high:.4g} "
        f"(n = {tested.n}), {how} ±{tested.tolerance:g}"
    )
