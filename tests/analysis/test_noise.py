from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sample_strategies import samples
from scipy import stats

from benchmarks.analysis.statistics import noise
from benchmarks.analysis.statistics.noise import worse_beyond_noise
from tasks.errors import UserError


@pytest.mark.filterwarnings("ignore:Precision loss")  # SciPy, where one side is constant.
@given(samples(), samples())
def test_several_values_are_compared_as_scipys_welch_test_does(
    before: np.ndarray, after: np.ndarray
) -> None:
    assume(np.ptp(before) > 0 or np.ptp(after) > 0)
    found = worse_beyond_noise(before, after, "lower")
    theirs = stats.ttest_ind(after, before, equal_var=False, alternative="greater")
    assert found.test == noise.WELCH
    assert found.p_value == pytest.approx(theirs.pvalue, abs=1e-9)
    assert found.confidence == pytest.approx(1 - theirs.pvalue, abs=1e-9)
    assert found.worse == (found.worsening > 0 and theirs.pvalue <= 0.05)


@given(samples(), samples())
def test_higher_is_better_is_the_mirror_of_lower(before: np.ndarray, after: np.ndarray) -> None:
    assert worse_beyond_noise(before, after, "higher") == worse_beyond_noise(
        -before, -after, "lower"
    )


@given(samples(), samples())
def test_it_is_never_worse_both_ways(before: np.ndarray, after: np.ndarray) -> None:
    one = worse_beyond_noise(before, after, "lower")
    other = worse_beyond_noise(after, before, "lower")
    assert not (one.worse and other.worse)
    if one.p_value is not None and other.p_value is not None:
        assert one.p_value + other.p_value == pytest.approx(1)


@given(samples(), samples(), st.floats(0, 5), st.floats(0, 5))
def test_a_larger_effect_asked_for_fails_no_more_gates(
    before: np.ndarray, after: np.ndarray, effect: float, more: float
) -> None:
    strict = worse_beyond_noise(before, after, "lower", min_effect=effect)
    loose = worse_beyond_noise(before, after, "lower", min_effect=effect + more)
    assert strict.worse or not loose.worse


def test_a_clear_drop_is_worse_and_a_harmless_one_is_not() -> None:
    before, after = [90.0, 90.1, 89.9], [89.0, 89.1, 88.9]
    assert worse_beyond_noise(before, after, "higher").worse
    assert worse_beyond_noise(before, after, "higher").worsening == pytest.approx(1.0)
    assert not worse_beyond_noise(before, after, "higher", min_effect=1.5).worse
    assert not worse_beyond_noise(after, before, "higher").worse
    assert not worse_beyond_noise(before, [90.0, 88.0, 91.0], "higher").worse


def test_the_gate_fails_without_a_cause_as_rarely_as_alpha() -> None:
    values = np.random.default_rng(0).normal(size=(2000, 6))
    failed = np.mean([worse_beyond_noise(v[:3], v[3:], "lower").worse for v in values])
    assert 0.02 < failed < 0.06


def test_a_single_value_is_compared_with_the_spread_of_the_other_side() -> None:
    before = [10.0, 11.0, 12.0]
    found = worse_beyond_noise(before, [15.0], "lower")
    # t = 4 / (1 * sqrt(1 + 1/3)) with 2 degrees of freedom.
    assert found.test == noise.POOLED
    assert found.p_value == pytest.approx(stats.t.sf(4 / np.sqrt(4 / 3), 2))
    other_way = worse_beyond_noise([15.0], before, "higher")
    assert other_way.p_value == pytest.approx(found.p_value)


def test_stated_noise_judges_single_values() -> None:
    found = worse_beyond_noise([10.0], [12.0], "lower", noise=0.5)
    assert found.test == noise.STATED
    assert found.p_value == pytest.approx(stats.norm.sf(2 / (0.5 * np.sqrt(2))))
    assert found.worse
    assert not worse_beyond_noise([10.0], [12.0], "lower", noise=2.0).worse
    assert worse_beyond_noise([10.0, 10.5], [12.0], "lower", noise=0.5).test == noise.STATED
    assert worse_beyond_noise([10.0, 10.5], [12.0, 12.1], "lower", noise=9.0).test == noise.WELCH


def test_a_tolerance_judges_single_values_without_a_p_value() -> None:
    found = worse_beyond_noise([10.0], [12.0], "lower", min_effect=1.0)
    assert (found.test, found.worse) == (noise.TOLERANCE, True)
    assert (found.p_value, found.confidence) == (None, None)
    assert not worse_beyond_noise([10.0], [11.0], "lower", min_effect=1.0).worse


@pytest.mark.parametrize(
    ("before", "after", "stated"),
    [([7.0] * 3, [8.0] * 3, None), ([7.0], [8.0], 0.0), ([7.0] * 3, [8.0], None)],
)
def test_exact_quantities_have_no_noise(
    before: list[float], after: list[float], stated: float | None
) -> None:
    found = worse_beyond_noise(before, after, "lower", noise=stated)
    assert (found.test, found.worse, found.p_value) == (noise.EXACT, True, None)
    assert not worse_beyond_noise(before, before, "lower", noise=0.0).worse
    assert not worse_beyond_noise(before, after, "lower", min_effect=1.0, noise=stated).worse


def test_a_difference_of_rounding_alone_is_none() -> None:
    assert not worse_beyond_noise([0.3] * 2, [0.1 + 0.2] * 2, "lower").worse


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "show no noise"),
        ({"before": []}, "before are empty"),
        ({"after": [float("nan")]}, "after hold a number that is not finite"),
        ({"better": ""}, "unknown direction ''"),
        ({"noise": -1.0}, "from 0 up"),
        ({"min_effect": -1.0}, "from 0 up"),
        ({"alpha": 5.0}, "alpha is 5.0"),
    ],
)
def test_what_cannot_be_gated_is_told_in_one_sentence(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        worse_beyond_noise(**({"before": [1.0], "after": [2.0], "better": "lower"} | settings))
