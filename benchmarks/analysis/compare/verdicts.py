"""The words for a paired difference, and how many seeds would take to say more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.analysis import best
from benchmarks.analysis.columns import Column
from benchmarks.analysis.compare.sizes import Size
from benchmarks.analysis.statistics.equivalence import Equivalence, tost_paired
from benchmarks.analysis.statistics.paired import PairedDifference
from benchmarks.analysis.statistics.power import seeds_needed
from tasks.errors import UserError

ALPHA = 0.05
BETTER, WORSE, HIGHER, LOWER = "better", "worse", "higher", "lower"
EQUAL, EQUIVALENT, NOT_SHOWN = "equal", "equivalent", "no difference shown"
NO_INTERVAL, NO_PAIR = "no interval", "no pair"
NOT_JUDGED = "not judged"
"""Measured while others held the cores."""

PAIRED_T, SIGN_FLIP, COUNT = "paired t test", "sign-flip test", "exact count"

EXACT = frozenset(
    (
        *best.EXACT,
        *("macs_backbone", "mem_parameters", "mem_gradients", "mem_optimizer", "mem_activations"),
    )
)
"""Metrics that are counted from shapes: without noise, unless training decides the shapes."""

_SIGN_FLIP_SEEDS = 6
"""The fewest seeds whose sign-flip test can reach 0.05: 2 / 2**6 is 0.03."""

_STEP = 0.01
"""Effects are rounded to steps of 1 % before seeds are planned for them."""


@dataclass(frozen=True)
class Verdict:
    """What the seeds show.

    Attributes:
        word: one of those in this module.
        p_value: two-sided, of the hypothesis that the true difference is 0; None where nothing was
            tested.
        test: which test gave it, or ``exact count``.
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


def judge_pairs(
    a: Sequence[float],
    b: Sequence[float],
    column: Column,
    tested: PairedDifference,
    tolerance: Size | None = None,
) -> Verdict:
    """The verdict on a method's values a against the baseline's b.

    Args:
        a: shape (n,), n >= 1, in the order of the seeds.
        b: shape (n,).
        column: what the values are of.
        tested: the paired difference of a and b, or of their logarithms where the column is a cost
            that is compared by its ratio.
        tolerance: the largest difference that does not count; a relative one is a bound on the
            ratio.

    Raises:
        UserError: a relative tolerance of what is not compared by its ratio.
    """
    fixed = is_exact(column) and len(set(a)) == 1 == len(set(b))
    within = tolerance is not None and _established(a, b, tolerance, column)
    if fixed:
        word = EQUAL if a[0] == b[0] else EQUIVALENT if within else _direction(tested.mean, column)
        return Verdict(word, test=COUNT, reason="" if len(a) > 1 else "counted for one seed")
    if len(a) == 1:
        return Verdict(NO_INTERVAL, reason="only one seed that both have: run more")
    if tested.constant and tested.mean == 0:
        return Verdict(EQUAL, reason="the same value in every seed")
    p_value, test, reason = tested.p_value, PAIRED_T, ""
    if p_value is None:
        # Accuracy comes in steps of an image: two equal differences are a coincidence, not proof.
        p_value, test = tested.p_sign_flip, SIGN_FLIP
        reason = "all differences are equal, so that a t test has no deviation to go by"
    if within:
        return Verdict(EQUIVALENT, p_value, test, reason=reason)
    if p_value is not None and p_value <= ALPHA:
        return Verdict(_direction(tested.mean, column), p_value, test, reason=reason)
    more = _more_seeds(a, b, tested, tolerance)
    return Verdict(NOT_SHOWN, p_value, test, more, reason)


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
    # One seed of a count.
    return abs(a[0] - b[0]) <= tolerance.of(b[0])


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
