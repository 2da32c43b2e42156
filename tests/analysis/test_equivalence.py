from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sample_strategies import pairs, samples
from sample_strategies import values as numbers
from scipy import stats

from benchmarks.analysis.statistics.equivalence import (
    CONTRADICTED,
    REPRODUCED,
    UNDERPOWERED,
    judge,
    tost,
    tost_paired,
)
from tasks.errors import UserError

tolerances = st.integers(0, 400).map(lambda i: i / 16)


@given(samples(), numbers, tolerances, st.sampled_from([0.01, 0.05, 0.1]))
def test_equivalence_is_the_narrow_t_interval_inside_the_band(
    values: np.ndarray, reference: float, tolerance: float, alpha: float
) -> None:
    assume(np.ptp(values) > 0)
    found = tost(values, reference, tolerance, alpha)
    theirs = stats.ttest_1samp(values, reference).confidence_interval(1 - 2 * alpha)
    low, high = theirs.low - reference, theirs.high - reference
    assert (found.narrow.low, found.narrow.high) == pytest.approx((low, high), abs=1e-9)
    assume(min(abs(low + tolerance), abs(high - tolerance)) > 1e-9)
    assert found.established == (-tolerance < low and high < tolerance)


@given(samples(), numbers, tolerances)
def test_its_two_tests_are_those_of_scipy(
    values: np.ndarray, reference: float, tolerance: float
) -> None:
    assume(np.ptp(values) > 0)
    above = stats.ttest_1samp(values, reference - tolerance, alternative="greater")
    below = stats.ttest_1samp(values, reference + tolerance, alternative="less")
    p_value = max(above.pvalue, below.pvalue)
    assume(abs(p_value - 0.05) > 1e-9)
    assert tost(values, reference, tolerance).established == (p_value < 0.05)


@given(samples(), numbers, tolerances)
def test_exclusion_is_the_wide_t_interval_outside_the_band(
    values: np.ndarray, reference: float, tolerance: float
) -> None:
    assume(np.ptp(values) > 0)
    found = tost(values, reference, tolerance)
    theirs = stats.ttest_1samp(values, reference).confidence_interval(0.95)
    low, high = theirs.low - reference, theirs.high - reference
    assume(min(abs(low - tolerance), abs(high + tolerance)) > 1e-9)
    assert found.excluded == (low > tolerance or high < -tolerance)
    assert not (found.excluded and found.established)


@given(pairs(), tolerances)
def test_pairs_are_the_sample_of_their_differences(
    pair: tuple[np.ndarray, np.ndarray], tolerance: float
) -> None:
    found, expected = tost_paired(*pair, tolerance), tost(pair[0] - pair[1], 0.0, tolerance)
    assert (found.narrow, found.wide) == (expected.narrow, expected.wide)
    assert (found.difference, found.std, found.n) == (
        expected.difference,
        expected.std,
        expected.n,
    )


@given(pairs(), tolerances)
def test_swapping_the_methods_changes_no_verdict(
    pair: tuple[np.ndarray, np.ndarray], tolerance: float
) -> None:
    one, other = tost_paired(*pair, tolerance), tost_paired(*pair[::-1], tolerance)
    assert (other.established, other.excluded) == (one.established, one.excluded)


@given(samples(), numbers, tolerances, st.sampled_from([0.5, 2.0, 64.0]), st.integers(-100, 100))
def test_neither_the_unit_nor_the_origin_changes_a_verdict(
    values: np.ndarray, reference: float, tolerance: float, scale: float, shift: int
) -> None:
    one = judge(values, reference, tolerance)
    other = judge(scale * values + shift, scale * reference + shift, scale * tolerance)
    assert (other.verdict, other.more_seeds) == (one.verdict, one.more_seeds)


@given(samples(), numbers, tolerances, tolerances)
def test_a_wider_tolerance_never_takes_a_reproduction_away(
    values: np.ndarray, reference: float, tolerance: float, wider: float
) -> None:
    one, other = judge(values, reference, tolerance), judge(values, reference, tolerance + wider)
    if one.verdict == REPRODUCED:
        assert other.verdict == REPRODUCED
    if other.verdict == CONTRADICTED:
        assert one.verdict == CONTRADICTED


@pytest.mark.parametrize(
    ("reference", "tolerance", "verdict"),
    [(70.2, 0.5, REPRODUCED), (73.0, 0.5, CONTRADICTED), (70.2, 0.1, UNDERPOWERED)],
)
def test_the_three_verdicts(reference: float, tolerance: float, verdict: str) -> None:
    found = judge([70.1, 70.2, 70.15], reference, tolerance)
    assert found.verdict == verdict
    assert (found.more_seeds == 0) == (verdict != UNDERPOWERED)
    assert f"±{tolerance}" in found.reason


def test_the_reason_names_the_interval_that_decided() -> None:
    assert judge([70.1, 70.2, 70.15], 70.2, 0.5).reason == (
        "the 90 % interval of the difference, -0.1343 to 0.03429 (n = 3), lies within ±0.5"
    )
    assert judge([70.1, 70.2, 70.15], 73, 0.5).reason == (
        "the 95 % interval of the difference, -2.974 to -2.726 (n = 3), lies outside ±0.5"
    )


def test_one_seed_is_underpowered_and_says_so() -> None:
    found = judge([70.0], 70.0, 0.5)
    assert (found.verdict, found.more_seeds) == (UNDERPOWERED, None)
    assert "one seed" in found.reason
    with pytest.raises(UserError, match="at least 2"):
        tost([70.0], 70.0, 0.5)


@pytest.mark.parametrize(("tolerance", "verdict"), [(0.1, REPRODUCED), (0.09, CONTRADICTED)])
def test_equal_values_are_judged_as_exact_and_the_reason_says_so(
    tolerance: float, verdict: str
) -> None:
    # 70.1 - 70.2 is a little more than 0.1 in binary fractions.
    for reference in (70.1, 70.3):
        found = judge([70.2] * 3, reference, tolerance)
        assert found.verdict == verdict
        assert "equal values are judged as exact" in found.reason
        tested = tost([70.2] * 3, reference, tolerance)
        assert tested.narrow.low == tested.narrow.high == tested.difference


@pytest.mark.parametrize(
    ("true_difference", "wrong"), [(1.0, REPRODUCED), (-1.0, REPRODUCED), (0.999, CONTRADICTED)]
)
def test_a_wrong_verdict_is_as_rare_as_alpha(true_difference: float, wrong: str) -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(70 + true_difference, 0.3, (800, 4))
    share = np.mean([
        (t.established if wrong == REPRODUCED else t.excluded)
        for t in (tost(sample, 70.0, 1.0) for sample in samples)
    ])  # fmt: skip
    assert share < 0.065
    assert share > (0.035 if wrong == REPRODUCED else 0.012)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: judge([1.0, 2.0], 1.0, -0.1), "tolerance is -0.1"),
        (lambda: judge([1.0], 1.0, -0.1), "tolerance is -0.1"),
        (lambda: judge([], 1.0, 0.1), "empty"),
        (lambda: judge([1.0, float("nan")], 1.0, 0.1), "not finite"),
        (lambda: judge([1.0, 2.0], float("nan"), 0.1), "not finite"),
        (lambda: tost([1.0, 2.0], 1.0, 0.1, alpha=0.7), "alpha is 0.7"),
        (lambda: tost([[1.0, 2.0]], 1.0, 0.1), "plain list"),
        (lambda: tost_paired([1.0, 2.0], [1.0, 2.0, 3.0], 0.1), "cannot be paired"),
    ],
)
def test_what_cannot_be_judged_is_told_in_one_sentence(call: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()  # type: ignore[operator]
