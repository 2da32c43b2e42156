from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_strategies import samples
from scipy import stats

from benchmarks.analysis.statistics.arrays import moments
from benchmarks.analysis.statistics.bootstrap import (
    EXACT_UP_TO,
    bootstrap_interval,
    percentile_bounds,
    stratified_bootstrap_interval,
)
from tasks.errors import UserError


@given(samples(most=5), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]))
@settings(max_examples=60)
def test_few_values_have_the_interval_of_all_their_resamples(
    values: np.ndarray, confidence: float
) -> None:
    n = len(values)
    means = np.sort([np.mean(chosen) for chosen in itertools.product(values, repeat=n)])
    cut = (1 - confidence) / 2 * len(means)
    first = max(0, int(np.ceil(cut - 1e-6)) - 1)
    found = bootstrap_interval(values, confidence)
    assert found.low == pytest.approx(means[first], abs=1e-9)
    assert found.high == pytest.approx(means[-1 - first], abs=1e-9)


@pytest.mark.parametrize("n", [6, 7, 8, 30, 100])
def test_it_agrees_with_scipy(n: int) -> None:
    values = np.random.default_rng(n).normal(70, 2, n)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, random_state=1
    ).confidence_interval
    found = bootstrap_interval(values)
    # The random error of a 2.5 % quantile from 10,000 draws, in standard errors of the mean.
    tolerance = 0.1 * values.std(ddof=1) / np.sqrt(n)
    assert found.low == pytest.approx(theirs.low, abs=tolerance)
    assert found.high == pytest.approx(theirs.high, abs=tolerance)


@given(samples(most=9), st.floats(0.1, 10), st.floats(-50, 50))
@settings(max_examples=60)
def test_it_moves_and_stretches_with_the_values(
    values: np.ndarray, scale: float, shift: float
) -> None:
    found = bootstrap_interval(values)
    moved = bootstrap_interval(scale * values + shift)
    assert moved.low == pytest.approx(scale * found.low + shift, abs=1e-6)
    assert moved.high == pytest.approx(scale * found.high + shift, abs=1e-6)


@given(samples(most=7))
def test_it_holds_the_mean_and_lies_within_the_values(values: np.ndarray) -> None:
    found = bootstrap_interval(values, 0.9)
    assert found.contains(values[0] if np.ptp(values) == 0 else values.mean())
    assert values.min() - 1e-9 <= found.low
    assert found.high <= values.max() + 1e-9


@given(samples(most=EXACT_UP_TO))
def test_turning_all_signs_turns_the_interval(values: np.ndarray) -> None:
    found, turned = bootstrap_interval(values), bootstrap_interval(-values)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


@given(samples(most=9), st.floats(0.2, 0.9), st.floats(0.01, 0.09))
@settings(max_examples=50)
def test_more_confidence_is_never_narrower(
    values: np.ndarray, confidence: float, more: float
) -> None:
    narrow = bootstrap_interval(values, confidence)
    wide = bootstrap_interval(values, confidence + more)
    assert wide.low <= narrow.low + 1e-9
    assert narrow.high - 1e-9 <= wide.high


@pytest.mark.parametrize("n", [5, 9, 80])
def test_many_samples_at_once_have_the_intervals_of_each_alone(n: int) -> None:
    values = np.random.default_rng(0).normal(size=(6, n))
    mean, _, centred = moments(values, np.abs(values).max(axis=1))
    bounds = mean[:, None] + percentile_bounds(centred)
    for row, (low, high) in zip(values, bounds, strict=True):
        alone = bootstrap_interval(row)
        assert (low, high) == pytest.approx((alone.low, alone.high))


@pytest.mark.parametrize("n", [4, 20, 80])
def test_the_same_values_have_the_same_interval_always(n: int) -> None:
    values = np.random.default_rng(3).normal(size=n)
    first = bootstrap_interval(values)
    np.random.default_rng(0).normal(size=5)
    assert bootstrap_interval(values) == first


def test_three_values_have_their_range() -> None:
    # A resample of the smallest alone has the probability 1/27, more than 2.5 %.
    found = bootstrap_interval([1.0, 2.0, 6.0])
    assert (found.low, found.high) == (1.0, 6.0)


@pytest.mark.parametrize(
    ("n", "least", "most"), [(3, 0.72, 0.78), (5, 0.81, 0.87), (20, 0.9, 0.95)]
)
def test_how_often_it_covers_the_mean_of_normal_values(n: int, least: float, most: float) -> None:
    values = np.random.default_rng(n).normal(size=(4000, n))
    mean, _, centred = moments(values, np.abs(values).max(axis=1))
    low, high = (mean[:, None] + percentile_bounds(centred)).T
    assert least < ((low <= 0) & (high >= 0)).mean() < most


def test_strata_vary_by_themselves_and_not_against_each_other() -> None:
    rng = np.random.default_rng(0)
    strata = [rng.normal(centre, 1.0, 12) for centre in (0, 50, 90)]
    found = stratified_bootstrap_interval(strata)
    error = np.sqrt(sum(np.var(s) / len(s) for s in strata)) / len(strata)
    centre = np.mean([s.mean() for s in strata])
    assert found.low == pytest.approx(centre - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(centre + 1.96 * error, abs=0.1 * error)
    assert found == stratified_bootstrap_interval(strata)


def test_strata_weigh_the_same_whatever_their_size() -> None:
    found = stratified_bootstrap_interval([[1.0] * 2, [3.0] * 9])
    assert (found.low, found.high) == (2.0, 2.0)


def test_one_value_has_no_interval() -> None:
    with pytest.raises(UserError, match="have 1 seed, and an interval needs at least 2"):
        bootstrap_interval([1.0])
    with pytest.raises(UserError, match="at least 2"):
        stratified_bootstrap_interval([[1.0, 2.0], [1.0]])
    with pytest.raises(UserError, match="at least one stratum"):
        stratified_bootstrap_interval([])


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, float("nan")])
def test_a_confidence_lies_between_0_and_1(confidence: float) -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        bootstrap_interval([1.0, 2.0], confidence)
