from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from sample_strategies import samples
from scipy import stats

from benchmarks.analysis.statistics.resampling import PATTERNS_UP_TO, sign_flip_ps


def sign_flip_p(differences: object) -> float:
    return float(sign_flip_ps(np.array([differences]))[0])


@given(samples(least=1, most=8))
def test_it_is_the_share_of_all_sign_patterns(differences: np.ndarray) -> None:
    # The differences are eighths: the sums are exact, and so are their ties.
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    as_far = sum(total >= abs(differences.sum()) for total in sums)
    assert sign_flip_p(differences) == as_far / 2 ** len(differences)


@pytest.mark.parametrize("n", [3, 5, 9])
def test_it_agrees_with_scipy(n: int) -> None:
    a, b = np.random.default_rng(n).normal([[0.5], [0.0]], 1.0, (2, n))
    theirs = stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples", vectorized=True, n_resamples=np.inf,
    )  # fmt: skip
    assert sign_flip_p(a - b) == pytest.approx(theirs.pvalue)


def test_three_seeds_never_reach_a_quarter() -> None:
    assert sign_flip_p([5.0, 5.1, 5.2]) == 0.25
    assert sign_flip_p([5.0, 5.1, 5.2, 5.3, 5.4]) == 0.0625


def test_no_difference_is_no_evidence() -> None:
    assert sign_flip_p([0.0, 0.0, 0.0]) == 1.0


def test_sums_that_are_equal_but_for_rounding_count_as_equal() -> None:
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0
    assert sign_flip_p(np.array([70.3, 70.2, 69.7]) - np.array([70.2, 70.0, 70.0])) == 1.0


@given(samples(most=8))
def test_neither_the_sign_nor_the_unit_matters(differences: np.ndarray) -> None:
    expected = sign_flip_p(differences)
    assert sign_flip_p(-differences) == expected
    assert sign_flip_p(differences * 1024) == expected


def test_many_seeds_are_near_the_t_test_and_never_zero() -> None:
    n = PATTERNS_UP_TO + 10
    differences = np.random.default_rng(0).normal(0.4, 1, n)
    assert sign_flip_p(differences) == pytest.approx(
        stats.ttest_1samp(differences, 0).pvalue, abs=0.02
    )
    assert 0 < sign_flip_p(np.ones(n)) < 1e-3


@pytest.mark.parametrize("n", [4, PATTERNS_UP_TO + 1])
def test_many_samples_at_once_have_the_p_values_of_each_alone(n: int) -> None:
    differences = np.random.default_rng(1).normal(size=(60, n))
    together = sign_flip_ps(differences)
    assert together.shape == (60,)
    assert [together[i] for i in (0, 30, 59)] == [sign_flip_p(differences[i]) for i in (0, 30, 59)]
