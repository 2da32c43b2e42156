from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_strategies import samples
from scipy import stats

from benchmarks.analysis.statistics.resampling import RESAMPLES_UP_TO, percentile_bounds
from tasks.errors import UserError


def interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    mean = values.mean()
    low, high = mean + percentile_bounds((values - mean)[None], confidence)[0]
    return float(low), float(high)


@given(samples(most=5), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]))
@settings(max_examples=60)
def test_few_values_have_the_interval_of_all_their_resamples(
    values: np.ndarray, confidence: float
) -> None:
    n = len(values)
    means = np.sort([np.mean(chosen) for chosen in itertools.product(values, repeat=n)])
    cut = (1 - confidence) / 2 * len(means)
    first = max(0, int(np.ceil(cut - 1e-6)) - 1)
    expected = (means[first], means[-1 - first])
    assert interval(values, confidence) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("n", [6, 7, 8, 30, 100])
def test_it_agrees_with_scipy(n: int) -> None:
    values = np.random.default_rng(n).normal(70, 2, n)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, random_state=1
    ).confidence_interval
    # The random error of a 2.5 % quantile from 10,000 draws, in standard errors of the mean.
    tolerance = 0.1 * values.std(ddof=1) / np.sqrt(n)
    assert interval(values) == pytest.approx((theirs.low, theirs.high), abs=tolerance)


@given(samples(most=9), st.floats(0.1, 10), st.floats(-50, 50))
@settings(max_examples=60)
def test_it_moves_and_stretches_with_the_values(
    values: np.ndarray, scale: float, shift: float
) -> None:
    expected = [scale * end + shift for end in interval(values)]
    assert interval(scale * values + shift) == pytest.approx(expected, abs=1e-6)


@given(samples(most=RESAMPLES_UP_TO))
def test_it_holds_the_mean_lies_within_the_values_and_turns_with_their_sign(
    values: np.ndarray,
) -> None:
    low, high = interval(values, 0.9)
    assert values.min() - 1e-9 <= low <= values.mean() + 1e-9
    assert values.mean() - 1e-9 <= high <= values.max() + 1e-9
    assert interval(-values, 0.9) == pytest.approx((-high, -low))


@given(samples(most=9), st.floats(0.2, 0.9), st.floats(0.01, 0.09))
@settings(max_examples=50)
def test_more_confidence_is_never_narrower(
    values: np.ndarray, confidence: float, more: float
) -> None:
    narrow, wide = interval(values, confidence), interval(values, confidence + more)
    assert wide[0] <= narrow[0] + 1e-9
    assert narrow[1] - 1e-9 <= wide[1]


@pytest.mark.parametrize("n", [5, 9, 80])
def test_many_samples_at_once_have_the_intervals_of_each_alone(n: int) -> None:
    values = np.random.default_rng(0).normal(size=(6, n))
    values -= values.mean(axis=1, keepdims=True)
    for row, bounds in zip(values, percentile_bounds(values), strict=True):
        assert bounds == pytest.approx(percentile_bounds(row[None])[0])


@pytest.mark.parametrize("n", [4, 20, 80])
def test_the_same_values_have_the_same_interval_always(n: int) -> None:
    values = np.random.default_rng(3).normal(size=n)
    first = interval(values)
    np.random.default_rng(0).normal(size=5)
    assert interval(values) == first


def test_three_values_have_their_range() -> None:
    # A resample of the smallest alone has the probability 1/27, more than 2.5 %.
    assert interval(np.array([1.0, 2.0, 6.0])) == (1.0, 6.0)


@pytest.mark.parametrize(
    ("n", "least", "most"), [(3, 0.72, 0.78), (5, 0.81, 0.87), (20, 0.9, 0.95)]
)
def test_how_often_it_covers_the_mean_of_normal_values(n: int, least: float, most: float) -> None:
    values = np.random.default_rng(n).normal(size=(2000, n))
    mean = values.mean(axis=1, keepdims=True)
    low, high = (mean + percentile_bounds(values - mean)).T
    assert least < ((low <= 0) & (high >= 0)).mean() < most


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, float("nan")])
def test_a_confidence_lies_between_0_and_1(confidence: float) -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        percentile_bounds(np.array([[-1.0, 1.0]]), confidence)
