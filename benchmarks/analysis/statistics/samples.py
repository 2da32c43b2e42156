"""A few values over seeds: mean, sample standard deviation, an interval, a tested difference."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from tasks.errors import UserError


@dataclass(frozen=True)
class Interval:
    """A closed interval, in the unit of the values that it was made of."""

    low: float
    high: float


@dataclass(frozen=True)
class Effect:
    """The difference of two means, a minus b, and its test.

    Attributes:
        difference: in the unit of the values, or of their logarithms.
        p_value: None where the values do not vary, or cannot be seen to.
        test: the name of the test; empty where there is a single value each, which has none.
        reason: what is particular about it; empty for most.
    """

    difference: float
    p_value: float | None
    test: str
    reason: str = ""


@dataclass(frozen=True)
class Sample:
    """``std`` is the sample standard deviation (n - 1); None of a single value."""

    mean: float
    std: float | None
    n: int


def describe(values: Collection[float]) -> Sample:
    """Mean, sample standard deviation and number of values.

    Args:
        values: n >= 1 finite numbers. Equal values have a deviation of exactly 0.

    Raises:
        UserError: there is no value.
    """
    n = len(values)
    if n == 0:
        raise UserError("a mean needs at least one value: give one")
    if min(values) == max(values):
        return Sample(next(iter(values)), 0.0 if n > 1 else None, n)
    mean = math.fsum(values) / n
    return Sample(mean, math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (n - 1)), n)
