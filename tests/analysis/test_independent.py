from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from sample_strategies import samples
from scipy import stats

from benchmarks.analysis.statistics.independent import EXACT, POOLED, WELCH, independent_effect
from tasks.errors import UserError


def test_a_small_case_worked_out_by_hand() -> None:
    # Equal numbers and deviations: t = 2 / sqrt(1/3 + 1/3) with 4 degrees of freedom, and P(T > t)
    # = 1/2 - (t / sqrt(t^2 + 4)) (3/4 - (t / sqrt(t^2 + 4))^2 / 4) for 4 degrees of freedom.
    found = independent_effect([12.0, 13.0, 14.0], [10.0, 11.0, 12.0], "greater")
    share = np.sqrt(6) / np.sqrt(10)
    assert (found.test, found.difference) == (WELCH, 2.0)
    assert found.p_value == pytest.approx(0.5 - share * (0.75 - share**2 / 4), abs=1e-12)


@pytest.mark.filterwarnings("ignore:Precision loss")  # SciPy, where one side is constant.
@given(samples(), samples())
def test_several_values_are_compared_by_welchs_test(a: np.ndarray, b: np.ndarray) -> None:
    assume(np.ptp(a) > 0 or np.ptp(b) > 0)
    found = independent_effect(a, b, "greater")
    theirs = stats.ttest_ind(a, b, equal_var=False, alternative="greater")
    assert found.test == WELCH
    assert found.p_value == pytest.approx(theirs.pvalue, abs=1e-9)
    assert found.difference == pytest.approx(a.mean() - b.mean(), abs=1e-12)


@given(samples(), samples())
def test_swapping_the_sides_turns_the_sign(a: np.ndarray, b: np.ndarray) -> None:
    one, other = independent_effect(a, b, "greater"), independent_effect(b, a, "less")
    assert (other.difference, other.test) == (-one.difference, one.test)
    assert other.p_value == (None if one.p_value is None else pytest.approx(one.p_value))
    opposite = independent_effect(a, b, "less").p_value
    if one.p_value is not None and opposite is not None:
        assert one.p_value + opposite == pytest.approx(1)


def test_it_rejects_without_a_cause_as_rarely_as_alpha() -> None:
    values = np.random.default_rng(0).normal(size=(2000, 6))
    p_values = [independent_effect(v[:3], v[3:], "greater").p_value or 0.0 for v in values]
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.06


def test_a_single_value_is_compared_with_the_spread_of_the_other_side() -> None:
    several = [10.0, 11.0, 12.0]
    found = independent_effect([15.0], several, "greater")
    # t = 4 / (1 * sqrt(1 + 1/3)), and P(T > t) = (1 - t / sqrt(t^2 + 2)) / 2 for 2 degrees.
    assert found.test == POOLED
    assert found.p_value == pytest.approx((1 - np.sqrt(12) / np.sqrt(14)) / 2)
    assert independent_effect(several, [15.0], "less").p_value == pytest.approx(found.p_value)


def test_a_single_value_on_each_side_has_no_test() -> None:
    found = independent_effect([10.0], [12.0], "less")
    assert (found.difference, found.p_value, found.test) == (-2.0, None, "")


@pytest.mark.parametrize("sides", [([8.0] * 3, [7.0] * 3), ([8.0], [7.0] * 3)])
def test_values_without_a_spread_are_exact(sides: tuple[list[float], list[float]]) -> None:
    found = independent_effect(*sides, "greater")
    assert (found.difference, found.p_value, found.test) == (1.0, None, EXACT)


def test_a_difference_of_rounding_alone_is_none() -> None:
    assert independent_effect([0.3] * 2, [0.1 + 0.2] * 2, "less").difference == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"a": []}, "empty"),
        ({"b": [float("nan")]}, "not finite"),
        ({"alternative": "greatr"}, "did you mean 'greater'"),
    ],
)
def test_what_cannot_be_tested_is_said_in_one_sentence(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        independent_effect(**({"a": [1.0], "b": [2.0], "alternative": "less"} | settings))
