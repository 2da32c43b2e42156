"""What the tests share: input as arrays, checked; means and deviations of rows; Student's t."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.errors import UserError, unknown_name

Array: TypeAlias = NDArray[np.float64]

_ROUNDING = 8 * np.finfo(np.float64).eps
"""Differences this small, relative to the values, come from binary fractions."""


def as_sample(values: ArrayLike, what: str = "the values", least: int = 1) -> Array:
    """The values as an array of shape (n,).

    Args:
        values: finite numbers, shape (n,).
        what: names them in an error.
        least: the smallest n that will do.

    Raises:
        UserError: another shape, too few values, or one that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise UserError(f"{what} must be a plain list of numbers, not an array of {array.shape}")
    if len(array) < least:
        seeds = "seed" if len(array) == 1 else "seeds"
        raise UserError(
            f"{what} have {len(array)} {seeds}, and an interval needs at least {least}: run more"
            if least > 1
            else f"{what} are empty: give at least one"
        )
    require_finite(array, what)
    return array


def require_finite(array: Array, what: str) -> None:
    """Raise a UserError where a number of any shape is NaN or infinite."""
    if not np.isfinite(array).all():
        raise UserError(f"{what} hold a number that is not finite: leave out what was not measured")


def require_between(value: float, low: float, high: float, what: str) -> None:
    """Raise a UserError unless low < value < high."""
    if not low < value < high:
        raise UserError(f"{what} is {value}: it must lie between {low} and {high}")


def cost_sign(better: str) -> float:
    """What turns a metric into a cost: 1 where ``"lower"`` is better, -1 where ``"higher"`` is.

    Raises:
        UserError: another direction, such as that of a metric without one.
    """
    if better not in ("higher", "lower"):
        raise unknown_name("direction", better, ("higher", "lower"))
    return 1.0 if better == "lower" else -1.0


def rounding(scale: Array | float) -> Array | float:
    """What rounding may add to a difference of numbers as large as ``scale``."""
    return _ROUNDING * scale


def moments(values: Array, scale: Array) -> tuple[Array, Array, Array]:
    """Means, sample standard deviations and centred values of rows.

    Args:
        values: shape (k, n), n >= 1.
        scale: shape (k,): the largest size of the numbers that a row was computed from. A row whose
            values differ by no more than its rounding is constant: its deviation is exactly 0.

    Returns:
        Means (k,); deviations with n - 1 (k,), NaN for n = 1; values minus their mean (k, n).
    """
    # Relative to the first value, so that equal values have exactly that mean.
    shifted = values - values[:, :1]
    offset = shifted.mean(axis=1, keepdims=True)
    centred = shifted - offset
    constant = np.ptp(values, axis=1) <= rounding(scale)
    centred[constant] = 0.0
    mean = values[:, 0] + offset[:, 0]
    n = values.shape[1]
    if n == 1:
        return mean, np.full(len(values), np.nan), centred
    return mean, np.sqrt(np.einsum("kn,kn->k", centred, centred) / (n - 1)), centred


@lru_cache(maxsize=1024)
def t_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t with ``df`` degrees of freedom."""
    from scipy import stats

    return float(stats.t.ppf(probability, df))
