"""Methods ranked over tasks: average ranks, Friedman's test, Nemenyi's critical difference.

Demšar 2006, "Statistical Comparisons of Classifiers over Multiple Data Sets", section 3.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from benchmarks.analysis.statistics.arrays import Array, cost_sign, require_between
from tasks.errors import UserError


@dataclass(frozen=True, eq=False)
class RankTable:
    """Ranks of methods; 1 is the best.

    Attributes:
        ranks: shape (tasks, methods); equal values share the mean of their ranks.
        mean_ranks: shape (methods,), over tasks.
        p_value: of Friedman's test that all methods rank alike, with its correction for ties; None
            for fewer than three methods or two tasks, or where all methods tie everywhere.
        critical_difference: Nemenyi: mean ranks that differ by less are not told apart; None where
            there is no test.
    """

    ranks: Array
    mean_ranks: Array
    p_value: float | None
    critical_difference: float | None


def rank_table(values: ArrayLike, better: str, alpha: float = 0.05) -> RankTable:
    """Rank methods on each task.

    Args:
        values: shape (tasks, methods). NaN where a method has none: it ranks last there, tied with
            the others that have none.
        better: ``"higher"`` or ``"lower"``, as :data:`benchmarks.records.row.METRICS` has it.
        alpha: the level of the critical difference.

    Raises:
        UserError: another shape, or a metric without a better direction.
    """
    sign = cost_sign(better)
    require_between(alpha, 0, 1, "alpha")
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise UserError("ranks need a table of values with a row a task and a column a method")
    signed = np.where(np.isnan(array), np.inf, sign * array)
    ranks = np.asarray(stats.rankdata(signed, axis=1))
    tasks, methods = ranks.shape
    testable = tasks > 1 and methods > 2 and bool((ranks != ranks[:, :1]).any())
    return RankTable(
        ranks=ranks,
        mean_ranks=ranks.mean(axis=0),
        p_value=float(stats.friedmanchisquare(*ranks.T).pvalue) if testable else None,
        critical_difference=critical_difference(tasks, methods, alpha) if testable else None,
    )


@lru_cache(maxsize=128)
def critical_difference(tasks: int, methods: int, alpha: float = 0.05) -> float:
    """Nemenyi's critical difference of mean ranks (Demšar 2006, section 3.2.2)."""
    q = stats.studentized_range.ppf(1 - alpha, methods, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(methods * (methods + 1) / (6 * tasks)))
