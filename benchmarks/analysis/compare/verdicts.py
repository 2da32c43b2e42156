"""The rule for better and worse, for bold cells, ``compare`` and ``gate`` alike; its words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean

import numpy as np

from benchmarks.analysis.columns import Column
from benchmarks.analysis.compare.sizes import Size
from benchmarks.analysis.statistics.arrays import rounding
from benchmarks.analysis.statistics.equivalence import Equivalence, tost_paired
from benchmarks.analysis.statistics.paired import PairedDifference
from benchmarks.analysis.statistics.power import seeds_needed
from benchmarks.analysis.statistics.samples import Effect
from tasks.errors import UserError

ALPHA = 0.05
BETTER, WORSE, HIGHER, LOWER = "better", "worse", "higher", "lower"
EQUAL, EQUIVALENT, NOT_SHOWN = "equal", "equivalent", "no difference shown"
NO_INTERVAL, NO_PAIR = "no interval", "no pair"
NOT_JUDGED = "not judged"
"""Measured while others held the cores."""

COUNT = "exact count"

EXACT = frozenset(
    (
        *("params", "params_trainable", "params_inference", "macs", "macs_per_pass"),
        *("train_flops", "weights_bytes", "disk_size", "macs_backbone"),
        *("mem_parameters", "mem_gradients", "mem_optimizer", "mem_activations"),
    )
)
"""Metrics that are counted from shapes: without noise, unless training decides the shapes.
``macs_executed`` is none: it is a mean over test images that follows from trained weights."""

_SIGN_FLIP_SEEDS = 6
"""The fewest seeds whose sign-flip test can reach 0.05: 2 / 2**6 is 0.03."""

_STEP = 0.01
"""Effects are rounded to steps of 1 % before seeds are planned for them."""


@dataclass(frozen=True)
class Verdict:
    """What the seeds show.

    Attributes:
        word: one of those in this module.
        p_value: of the hypothesis that there is no true difference; None where nothing was tested.
        test: its name; ``exact count`` or ``exact`` where there is no noise to test against.
        more_seeds: seeds beyond those at hand that a verdict would take with a chance of 0.8; None
            where there is one, or where no reasonable number would do.
        reason: what is particular about it; empty for most.
    """

    word: str
    p_value: float | None = None
    test: str = ""
    more_seeds: int | None = None
    reason: str = ""


def is_exact(column: Column) -> bool:
    """Whether the metric is a count, without noise."""
    return column.metric.split("@")[0] in EXACT


def is_counted(a: Sequence[float], b: Sequence[float], column: Column) -> bool:
    """Whether a and b are a count that is the same for all seeds of each side."""
    return is_exact(column) and len(set(a)) == 1 == len(set(b))


def verdict_on(
    a: Sequence[float],
    b: Sequence[float],
    column: Column,
    effect: Effect,
    tolerance: Size | None = None,
    alpha: float = ALPHA,
    equivalent: bool = False,
) -> Verdict:
    """Whether a is better or worse than b: the rule of ``docs/verdicts.md``.

    Two things are needed: the test of the difference has a p-value of at most alpha, or there is
    no noise to test against; and the means differ by more than the tolerance, if there is one.
    Counts that are the same for all seeds of each side have no noise, whatever the test.

    Args:
        a: shape (n,), n >= 1.
        b: shape (m,), m >= 1.
        column: what the values are of.
        effect: the tested difference of a and b, or of their logarithms.
        tolerance: the largest difference that does not count; a relative one is a share of the mean
            of b.
        alpha: the level of the test.
        equivalent: whether a and b were shown to differ by no more than the tolerance.
    """
    counted = is_counted(a, b, column)
    difference = a[0] - b[0] if counted else effect.difference
    p_value = None if counted else effect.p_value
    test = COUNT if counted else effect.test
    reason = effect.reason
    if counted:
        reason = "counted for one seed" if len(a) == 1 else ""
    if not test:
        return Verdict(NO_INTERVAL, reason=reason)
    if difference == 0 and p_value is None:
        word = EQUAL
    elif equivalent:
        word = EQUIVALENT
    elif (p_value is None or p_value <= alpha) and not _within(a, b, tolerance):
        word = _direction(difference, column)
    else:
        word = NOT_SHOWN
    return Verdict(word, p_value, test, reason=reason)


def judge_pairs(
    a: Sequence[float],
    b: Sequence[float],
    column: Column,
    tested: PairedDifference,
    tolerance: Size | None = None,
) -> Verdict:
    """The verdict on a method's values a against the baseline's b, and the seeds to get one.

    Args:
        a: shape (n,), n >= 1, in the order of the seeds.
        b: shape (n,).
        column: what the values are of.
        tested: the paired difference of a and b, or of their logarithms where the column is a cost
            that is compared by its ratio.
        tolerance: the largest difference that does not count; for equivalence, a relative one is a
            bound on the ratio.

    Raises:
        UserError: a relative tolerance of what is not compared by its ratio.
    """
    equivalent = tolerance is not None and _established(a, b, tolerance, column)
    verdict = verdict_on(a, b, column, tested.effect, tolerance, equivalent=equivalent)
    if verdict.word != NOT_SHOWN:
        return verdict
    return replace(verdict, more_seeds=_more_seeds(a, b, tested, tolerance))


def tolerance_test(
    a: Sequence[float], b: Sequence[float], tolerance: Size, column: Column
) -> Equivalence:
    """Two one-sided tests of a against b; of logarithms for a relative tolerance.

    Raises:
        UserError: as :func:`judge_pairs`; fewer than two seeds.
    """
    if not tolerance.relative:
        return tost_paired(a, b, tolerance.amount, ALPHA)
    if not column.is_cost or min(*a, *b) <= 0:
        raise UserError(
            f"a tolerance in % is a bound on a ratio, and {column.metric} has none: give it in "
            f"the metric's own unit, such as {column.metric}=0.5"
        )
    return tost_paired(np.log(a), np.log(b), math.log1p(tolerance.amount), ALPHA)


def _established(a: Sequence[float], b: Sequence[float], tolerance: Size, column: Column) -> bool:
    if len(a) > 1:
        return tolerance_test(a, b, tolerance, column).established
    return _within(a, b, tolerance)  # one seed of a count


def _within(a: Sequence[float], b: Sequence[float], tolerance: Size | None) -> bool:
    """Whether the means differ by no more than the tolerance, but for rounding."""
    if tolerance is None or not tolerance.amount:
        return False
    scale = max(map(abs, (*a, *b)))
    return abs(fmean(a) - fmean(b)) <= tolerance.of(fmean(b)) + float(rounding(scale))


def _direction(difference: float, column: Column) -> str:
    if not column.info.better:
        return HIGHER if difference > 0 else LOWER
    return BETTER if (difference > 0) == (column.info.better == "higher") else WORSE


def _more_seeds(
    a: Sequence[float], b: Sequence[float], tested: PairedDifference, tolerance: Size | None
) -> int | None:
    std = tested.std or 0.0
    if tolerance is not None:
        own = tolerance.relative
        width = math.log1p(tolerance.amount) if own else tolerance.amount
        difference = tested.mean if own else float(np.mean(np.subtract(a, b)))
        spread = std if own else float(np.std(np.subtract(a, b), ddof=1))
        more = seeds_needed(spread, width, difference, have=tested.n, alpha=ALPHA)
        return more and max(1, more)
    if std == 0:
        return max(1, _SIGN_FLIP_SEEDS - tested.n)
    needed = _seeds_for(round(math.log(abs(tested.mean) / std) / _STEP)) if tested.mean else None
    return None if needed is None else max(1, needed - tested.n)


@cache
def _seeds_for(step: int) -> int | None:
    """Seeds that show a difference of exp(step * _STEP) deviations; many pairs share a step."""
    return seeds_needed(1.0, 0.0, math.exp(step * _STEP), alpha=ALPHA)
