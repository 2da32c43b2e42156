"""Methods over many tasks: ranks with Friedman's and Nemenyi's tests, and the AlgoPerf score.

- Demšar 2006, "Statistical Comparisons of Classifiers over Multiple Data Sets", section 3.2.
- Dahl et al. 2023, "Benchmarking Neural Network Training Algorithms" (arXiv 2306.07179), section on
  performance profiles, after Dolan and Moré 2002.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.analysis.statistics.arrays import Array, cost_sign
from tasks.errors import UserError

ALPHA = 0.05
R_MAX = 4.0
"""Where the performance profile ends, as in the paper."""


@dataclass(frozen=True, eq=False)
class RankTable:
    """Ranks of methods; 1 is the best.

    Attributes:
        ranks: shape (tasks, methods); equal values share the mean of their ranks.
        mean_ranks: shape (methods,), over tasks.
        p_value: of Friedman's test that all methods rank alike, with its correction for ties; None
            for fewer than three methods or two tasks, or where all methods tie everywhere.
        critical_difference: Nemenyi: mean ranks that differ by less do not differ significantly;
            None where
            there is no test.
    """

    ranks: Array
    mean_ranks: Array
    p_value: float | None
    critical_difference: float | None


def rank_table(values: ArrayLike, better: str) -> RankTable:
    """Rank methods on each task.

    Args:
        values: shape (tasks, methods). NaN where a method has none: it ranks last there, tied with
            the others that have none.
        better: ``"higher"`` or ``"lower"``, as :data:`benchmarks.records.row.METRICS` has it.

    Raises:
        UserError: another shape, or a metric without a better direction.
    """
    from scipy import stats

    sign = cost_sign(better)
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
        critical_difference=critical_difference(tasks, methods) if testable else None,
    )


@lru_cache(maxsize=128)
def critical_difference(tasks: int, methods: int) -> float:
    """Nemenyi's critical difference of mean ranks at 0.05 (Demšar 2006, section 3.2.2)."""
    from scipy import stats

    q = stats.studentized_range.ppf(1 - ALPHA, methods, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(methods * (methods + 1) / (6 * tasks)))


def algoperf_score(costs: ArrayLike) -> Array:
    """The area under each method's performance profile from 1 to R_MAX, over R_MAX - 1.

    The profile is the share of tasks that a method does at no more than tau times the lowest cost
    of any method. It is a step function, so the integral is a sum: a task adds the part of
    [1, R_MAX] that lies above the ratio of the method's cost to the lowest.

    Args:
        costs: shape (tasks, methods), positive, lower is better (time or energy to the target).
            NaN or infinite where the target was missed.

    Returns:
        Scores (methods,) from 0 (nothing within R_MAX times the best) to 1 (best on every task).

    Raises:
        UserError: another shape, no task, or a cost that is not positive.
    """
    array = np.array(costs, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise UserError("a profile needs a table of costs with a row a task and a column a method")
    array[np.isnan(array)] = np.inf
    if (array <= 0).any():
        raise UserError("a profile needs positive costs: leave out the task whose cost is not")
    best = array.min(axis=1, keepdims=True)
    ratios = np.divide(array, best, out=np.full(array.shape, np.inf), where=np.isfinite(array))
    return (np.maximum(0.0, R_MAX - ratios) / (R_MAX - 1)).mean(axis=0)
