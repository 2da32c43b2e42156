"""Performance profiles over tasks, and the AlgoPerf score.

Dahl et al. 2023, "Benchmarking Neural Network Training Algorithms" (arXiv 2306.07179), section on
performance profiles, after Dolan and Moré 2002.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.analysis.statistics.arrays import Array
from tasks.errors import UserError

R_MAX = 4.0


def performance_ratios(costs: ArrayLike) -> Array:
    """Each method's cost on a task divided by the lowest cost of any method on it.

    Args:
        costs: shape (tasks, methods), positive, lower is better (time or energy to the target).
            NaN or infinite where the target was missed.

    Returns:
        Ratios of the same shape, at least 1; infinite where the target was missed.

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
    reached = np.isfinite(array)
    return np.divide(array, best, out=np.full(array.shape, np.inf), where=reached)


def performance_profile(costs: ArrayLike, taus: ArrayLike) -> Array:
    """The share of tasks that a method does at no more than tau times the lowest cost.

    Args:
        costs: shape (tasks, methods), as :func:`performance_ratios` takes them.
        taus: shape (t,), ratios from 1 up.

    Returns:
        rho of shape (methods, t), from 0 to 1, rising with tau.

    Raises:
        UserError: as :func:`performance_ratios`.
    """
    ratios = performance_ratios(costs)
    return (ratios[:, :, None] <= np.asarray(taus, dtype=np.float64)).mean(axis=0)


def algoperf_score(costs: ArrayLike, r_max: float = R_MAX) -> Array:
    """The area under the performance profile from 1 to r_max, over r_max - 1.

    The profile is a step function, so the integral is a sum: a task adds the part of [1, r_max]
    that lies above its ratio.

    Args:
        costs: shape (tasks, methods), as :func:`performance_ratios` takes them.
        r_max: where the profile ends; 4 in the paper.

    Returns:
        Scores (methods,) from 0 (nothing within r_max times the best) to 1 (best on every task).

    Raises:
        UserError: as :func:`performance_ratios`, or r_max not above 1.
    """
    if not 1 < r_max < np.inf:
        raise UserError(f"r_max is {r_max}: give a ratio above 1")
    return (np.maximum(0.0, r_max - performance_ratios(costs)) / (r_max - 1)).mean(axis=0)
