from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from sample_strategies import pairs
from scipy import stats

from benchmarks.analysis.statistics.paired import (
    PairedDifference,
    PairedRatio,
    paired_differences,
)
from benchmarks.analysis.statistics.resampling import percentile_bounds, sign_flip_ps
from benchmarks.analysis.statistics.samples import Interval
from tasks.errors import UserError


def paired_difference(
    a: ArrayLike, b: ArrayLike, confidence: float | None = 0.95
) -> PairedDifference:
    (found,) = paired_differences([a], [b], confidence)
    return found


def paired_ratio(a: ArrayLike, b: ArrayLike) -> PairedRatio:
    logs = paired_difference(np.log(a), np.log(b))
    return PairedRatio(float(np.exp(logs.mean)), logs)


def ends(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


def test_a_small_case_worked_out_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, deviation 1, error 1/sqrt(3), t(2) at 97.5 % is 4.302653.
    found = paired_difference([71.0, 73.0, 75.0], [70.0, 71.0, 72.0])
    assert (found.mean, found.std, found.n) == (2.0, 1.0, 3)
    half = 4.302653 / np.sqrt(3)
    assert ends(found.t_interval) == pytest.approx((2 - half, 2 + half), abs=1e-5)
    assert ends(found.bootstrap_interval) == (1.0, 3.0)
    assert found.p_value == pytest.approx(0.0741799)
    assert found.p_sign_flip == 0.25
    assert not found.constant


@given(pairs(), st.sampled_from([0.8, 0.9, 0.95]))
@settings(max_examples=60)
def test_it_agrees_with_scipy(pair: tuple[np.ndarray, np.ndarray], confidence: float) -> None:
    a, b = pair
    assume(np.ptp(a - b) > 0)
    theirs = stats.ttest_rel(a, b)
    found = paired_difference(a, b, confidence)
    assert found.p_value == pytest.approx(theirs.pvalue, abs=1e-9)
    interval = theirs.confidence_interval(confidence)
    assert ends(found.t_interval) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert found.std == pytest.approx(np.std(a - b, ddof=1))


@given(pairs())
def test_it_is_made_of_the_single_tests(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    found = paired_difference(a, b)
    d = a - b
    assert found.p_sign_flip == sign_flip_ps(d[None])[0]
    expected = d.mean() + percentile_bounds((d - d.mean())[None])[0]
    assert ends(found.bootstrap_interval) == pytest.approx(expected, abs=1e-9)


@given(pairs())
def test_swapping_the_methods_turns_the_sign_and_nothing_else(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    one, other = paired_difference(*pair), paired_difference(*pair[::-1])
    assert other.mean == -one.mean
    assert (other.std, other.p_value, other.p_sign_flip) == (one.std, one.p_value, one.p_sign_flip)
    for name in ("t_interval", "bootstrap_interval"):
        low, high = ends(getattr(one, name))
        assert ends(getattr(other, name)) == pytest.approx((-high, -low))


@given(pairs(), st.sampled_from([0.25, 2.0, 1024.0]), st.integers(-100, 100))
def test_a_common_shift_changes_nothing_and_a_unit_scales(
    pair: tuple[np.ndarray, np.ndarray], scale: float, shift: int
) -> None:
    a, b = pair
    one = paired_difference(a, b)
    other = paired_difference(scale * a + shift, scale * b + shift)
    assert other.mean == pytest.approx(scale * one.mean)
    assert other.std == pytest.approx(scale * one.std)
    assert other.p_value == (None if one.p_value is None else pytest.approx(one.p_value))
    assert other.p_sign_flip == one.p_sign_flip
    for name in ("t_interval", "bootstrap_interval"):
        low, high = ends(getattr(one, name))
        assert ends(getattr(other, name)) == pytest.approx((scale * low, scale * high), abs=1e-9)


@given(pairs())
def test_the_order_of_the_seeds_does_not_matter(pair: tuple[np.ndarray, np.ndarray]) -> None:
    one, other = paired_difference(*pair), paired_difference(pair[0][::-1], pair[1][::-1])
    assert other.mean == pytest.approx(one.mean)
    assert other.p_sign_flip == one.p_sign_flip


@given(pairs())
def test_both_intervals_hold_the_mean(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = paired_difference(*pair)
    for low, high in (ends(found.t_interval), ends(found.bootstrap_interval)):
        assert low <= found.mean <= high


def test_the_t_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(70, 1, (2, 4000, 3)) + rng.normal(0, 3, (4000, 3))
    found = paired_differences(list(a), list(b), 0.9)
    covered = np.mean([low <= 0 <= high for low, high in (ends(f.t_interval) for f in found)])
    assert 0.885 < covered < 0.915
    assert 0.085 < np.mean([(f.p_value or 1) < 0.1 for f in found]) < 0.115


@pytest.mark.parametrize("offset", [1.0, 0.1, 1e-3])
def test_equal_differences_have_a_point_for_an_interval_and_no_t_test(offset: float) -> None:
    b = np.array([70.1, 64.7, 12.3])
    found = paired_difference(b + offset, b)
    assert found.constant
    assert found.std == 0.0
    assert found.mean == pytest.approx(offset)
    assert ends(found.t_interval) == (found.mean, found.mean)
    assert ends(found.bootstrap_interval) == (found.mean, found.mean)
    assert found.p_value is None
    assert found.p_sign_flip == 0.25


def test_the_same_values_have_no_difference() -> None:
    found = paired_difference([1.5, 2.5], [1.5, 2.5])
    assert (found.mean, found.std, found.p_value, found.p_sign_flip) == (0.0, 0.0, None, 1.0)


def test_a_tiny_but_real_deviation_is_one() -> None:
    found = paired_difference([70.0, 70.0, 70.0], [70.0, 70.0 + 1e-9, 70.0])
    assert not found.constant
    assert found.p_value == pytest.approx(stats.ttest_1samp([0, 1, 0], 0).pvalue, rel=1e-3)


def test_samples_of_many_sizes_come_back_in_order() -> None:
    rng = np.random.default_rng(2)
    a = [rng.normal(size=n) for n in (3, 5, 3, 9, 2, 5)]
    b = [rng.normal(size=len(x)) for x in a]
    for found, left, right in zip(paired_differences(a, b), a, b, strict=True):
        alone = paired_difference(left, right)
        assert found.n == len(left)
        assert (found.mean, found.std) == pytest.approx((alone.mean, alone.std))
        assert ends(found.bootstrap_interval) == pytest.approx(ends(alone.bootstrap_interval))
    assert paired_differences([], []) == []


def test_ten_thousand_comparisons_take_well_under_five_seconds() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 10_000, 3))
    started = time.process_time()
    paired_differences(list(a), list(b))
    assert time.process_time() - started < 2


def test_one_pair_has_a_mean_and_no_more() -> None:
    found = paired_difference([3.0], [1.0], confidence=None)
    assert (found.mean, found.n) == (2.0, 1)
    assert (found.std, found.t_interval, found.bootstrap_interval) == (None, None, None)
    assert (found.p_value, found.p_sign_flip) == (None, None)
    with pytest.raises(UserError, match="at least 2 seeds"):
        paired_difference([3.0], [1.0])


def test_without_a_confidence_there_are_tests_and_no_intervals() -> None:
    found = paired_difference([3.0, 5.0], [1.0, 1.0], confidence=None)
    assert found.p_value == pytest.approx(stats.ttest_1samp([2, 4], 0).pvalue)
    assert (found.confidence, found.t_interval) == (None, None)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0, 2.0], [1.0], "cannot be paired"),
        ([], [], "at least 2 seeds"),
        ([1.0, float("nan")], [1.0, 2.0], "not finite"),
        ([1.0, 2.0], [float("inf"), 2.0], "not finite"),
        ([[1.0, 2.0]], [[1.0, 2.0]], "one value a seed"),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_sentence(a: list, b: list, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        paired_difference(a, b)
    assert "\n" not in str(error.value)


def test_a_ratio_is_the_geometric_mean_of_the_pairs() -> None:
    found = paired_ratio([2.0, 8.0], [1.0, 1.0])
    assert found.mean == pytest.approx(4)
    low, high = ends(found.t_interval)
    assert low * high == pytest.approx(16)
    assert ends(found.bootstrap_interval) == pytest.approx((2, 8))


def test_a_ratio_the_other_way_round_is_its_inverse() -> None:
    a, b = np.random.default_rng(0).uniform(1, 2, (2, 5))
    one, other = paired_ratio(a, b), paired_ratio(b, a)
    assert one.mean * other.mean == pytest.approx(1)
    low, high = ends(one.t_interval)
    assert ends(other.t_interval) == pytest.approx((1 / high, 1 / low))
    assert paired_ratio(1000 * a, 1000 * b).mean == pytest.approx(one.mean)
