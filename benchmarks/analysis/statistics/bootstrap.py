"""Bootstrap intervals of a mean, by percentiles (Efron and Tibshirani 1993, chapter 13).

For up to :data:`EXACT_UP_TO` values all n**n resamples are counted, each distinct one once with its
multiplicity, so that nothing is random. Above that, resamples are drawn from a fixed seed: the same
values have the same interval always.

Percentiles, not BCa: the bias and the skewness that BCa corrects for would be estimated from the
same three to five values, and it covers no more of them. Of normal values a 95 % interval of either
kind covers the true mean in about 0.72 to 0.75 of samples of 3 and 0.84 of samples of 5. With so
few values every bootstrap interval is too narrow; the t interval stands beside it, and decides.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.analysis.statistics.arrays import Array, as_sample, moments, require_between
from benchmarks.analysis.statistics.samples import Interval
from tasks.errors import UserError

EXACT_UP_TO = 7
"""1,716 distinct resamples of 7 values."""

RESAMPLES = 10_000
_SEED = 0
_KEPT_UP_TO = 64
"""Resamples of more values than this are drawn anew each time: they take too much memory."""
_BLOCK = 2_000_000
"""Numbers in one block of work."""
_FUZZ = 1e-9


def bootstrap_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Percentile bootstrap interval of the mean.

    Args:
        values: shape (n,), n >= 2.
        confidence: between 0 and 1.

    Raises:
        UserError: fewer than two values, or one that is not finite.
    """
    array = as_sample(values, least=2)[None]
    mean, _, centred = moments(array, np.abs(array).max(axis=1))
    low, high = (mean[:, None] + percentile_bounds(centred, confidence))[0]
    return Interval(float(low), float(high))


def stratified_bootstrap_interval(
    strata: Sequence[ArrayLike], confidence: float = 0.95
) -> Interval:
    """Percentile bootstrap interval of the mean of the strata's means.

    Each stratum (a task, say) is resampled by itself, so that the tasks stay what they are and the
    seeds alone vary (Agarwal et al. 2021, arXiv 2108.13264, section 4.1). Resamples are random from
    a fixed seed.

    Args:
        strata: arrays of shapes (n_1,), (n_2,), ...; each n >= 2. All strata weigh the same.
        confidence: between 0 and 1.

    Raises:
        UserError: no stratum, fewer than two values in one, or a value that is not finite.
    """
    require_between(confidence, 0, 1, "the confidence")
    if not strata:
        raise UserError("a mean over strata needs at least one stratum: give its values")
    arrays = [as_sample(stratum, "the values of a stratum", least=2) for stratum in strata]
    rng = np.random.default_rng(_SEED)
    centre, resampled = 0.0, np.zeros((RESAMPLES, 1))
    for array in arrays:
        scale = np.abs(array).max(keepdims=True)
        mean, _, centred = moments(array[None], scale)
        blocks = _random_blocks(len(array), rng)
        resampled += np.concatenate([block @ centred.T for block in blocks]) / len(array)
        centre += float(mean[0])
    low, high = _random_bounds(resampled / len(arrays), _tail(confidence))[0]
    centre /= len(arrays)
    return Interval(centre + float(low), centre + float(high))


def percentile_bounds(centred: Array, confidence: float = 0.95) -> Array:
    """Bounds of the resampled means of many samples of one size, which share their resamples.

    Args:
        centred: values minus their mean, shape (k, n).
        confidence: between 0 and 1.

    Returns:
        Lower and upper bounds relative to the mean, shape (k, 2).
    """
    require_between(confidence, 0, 1, "the confidence")
    k, n = centred.shape
    exact = n <= EXACT_UP_TO
    size = max(1, _BLOCK // (math.comb(2 * n - 1, n) if exact else RESAMPLES))
    bounds = _exact_bounds if exact else _sampled_bounds
    parts = [bounds(centred[i : i + size], _tail(confidence)) for i in range(0, k, size)]
    return np.concatenate(parts) if parts else np.empty((0, 2))


def _tail(confidence: float) -> float:
    return (1 - confidence) / 2


def _exact_bounds(centred: Array, tail: float) -> Array:
    n = centred.shape[1]
    counts, weights = _every_resample(n)
    means = counts @ centred.T / n
    order = np.argsort(means, axis=0)
    means = np.take_along_axis(means, order, axis=0)
    weights = weights[order]
    below = np.cumsum(weights, axis=0)
    above = float(n**n) - below + weights
    target = (tail - _FUZZ) * n**n
    lower = (below < target).sum(axis=0)
    upper = len(means) - 1 - (above < target).sum(axis=0)
    columns = np.arange(len(centred))
    return np.stack([means[lower, columns], means[upper, columns]], axis=1)


def _sampled_bounds(centred: Array, tail: float) -> Array:
    n = centred.shape[1]
    blocks = _kept_resamples(n) if n <= _KEPT_UP_TO else _random_blocks(n)
    return _random_bounds(np.concatenate([b @ centred.T for b in blocks]) / n, tail)


def _random_bounds(means: Array, tail: float) -> Array:
    """Equal tails of resampled means (r, k) are cut off, the same number at both ends: (k, 2)."""
    first = max(0, math.ceil((tail - _FUZZ) * len(means)) - 1)
    last = len(means) - 1 - first
    return np.partition(means, (first, last), axis=0)[[first, last]].T


@lru_cache(maxsize=EXACT_UP_TO)
def _every_resample(n: int) -> tuple[Array, Array]:
    """How often a distinct resample holds each value (r, n), and in how many orders (r,)."""
    counts, weights = [], []
    for chosen in combinations_with_replacement(range(n), n):
        times = Counter(chosen)
        counts.append([times[i] for i in range(n)])
        weights.append(math.factorial(n) // math.prod(map(math.factorial, times.values())))
    return np.array(counts, dtype=np.float64), np.array(weights, dtype=np.float64)


@lru_cache(maxsize=8)
def _kept_resamples(n: int) -> tuple[Array, ...]:
    return tuple(_random_blocks(n))


def _random_blocks(n: int, rng: np.random.Generator | None = None) -> Iterable[Array]:
    """:data:`RESAMPLES` draws of how often a resample holds each of n values, in blocks (r, n)."""
    rng = rng or np.random.default_rng(_SEED)
    size = max(1, _BLOCK // n)
    for start in range(0, RESAMPLES, size):
        draws = min(size, RESAMPLES - start)
        yield rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)
