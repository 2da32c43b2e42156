from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.analysis.statistics.equivalence import UNDERPOWERED, judge
from benchmarks.analysis.statistics.power import POWER, seeds_needed, verdict_power
from tasks.errors import UserError

stds = st.floats(0.05, 3)
tolerances = st.floats(0.1, 5)
differences = st.floats(-6, 6)


@pytest.mark.parametrize(
    ("n", "tolerance", "difference"),
    [(2, 20.0, 0.0), (3, 3.0, 0.0), (3, 3.0, -1.0), (5, 2.0, 0.5), (20, 0.8, 0.1)],
)
def test_the_power_of_equivalence_is_that_of_simulated_seeds(
    n: int, tolerance: float, difference: float
) -> None:
    values = np.random.default_rng(n).normal(difference, 1.0, (40_000, n))
    half = stats.t.ppf(0.95, n - 1) * values.std(axis=1, ddof=1) / np.sqrt(n)
    mean = values.mean(axis=1)
    simulated = ((mean - half > -tolerance) & (mean + half < tolerance)).mean()
    assert float(verdict_power(n, 1.0, tolerance, difference)) == pytest.approx(simulated, abs=0.01)


@pytest.mark.parametrize(("n", "tolerance", "difference"), [(30, 0.8, 0.2), (300, 0.2, -0.05)])
def test_the_power_of_equivalence_is_that_of_two_noncentral_t_for_many_seeds(
    n: int, tolerance: float, difference: float
) -> None:
    t = stats.t.ppf(0.95, n - 1)
    upper = stats.nct.cdf(-t, n - 1, -(tolerance - difference) * np.sqrt(n))
    lower = stats.nct.cdf(t, n - 1, (tolerance + difference) * np.sqrt(n))
    power = float(verdict_power(n, 1.0, tolerance, difference))
    assert power == pytest.approx(upper - lower, abs=1e-6)


@given(st.integers(2, 1000), tolerances, st.floats(0.0, 2), stds)
@settings(max_examples=60)
def test_the_power_of_contradiction_is_the_tail_of_noncentral_t(
    n: int, tolerance: float, beyond: float, std: float
) -> None:
    t = stats.t.ppf(0.975, n - 1)
    expected = stats.nct.sf(t, n - 1, beyond * np.sqrt(n) / std)
    assume(np.isfinite(expected))
    found = float(verdict_power(n, std, tolerance, tolerance + beyond))
    assert found == pytest.approx(expected, abs=1e-8)


@given(stds, tolerances, differences)
@settings(max_examples=60)
def test_power_is_a_chance_that_rises_with_the_seeds_once_above_alpha(
    std: float, tolerance: float, difference: float
) -> None:
    power = verdict_power(np.arange(2, 60), std, tolerance, difference)
    assert ((power >= 0) & (power <= 1)).all()
    if abs(abs(difference) - tolerance) > 1e-6:
        assert (np.diff(power)[power[:-1] > 0.05] >= -1e-9).all()


@given(stds, tolerances, differences)
@settings(max_examples=60)
def test_the_seeds_are_the_fewest_that_reach_the_power(
    std: float, tolerance: float, difference: float
) -> None:
    needed = seeds_needed(std, tolerance, difference)
    if needed is None:
        assert float(verdict_power(1000, std, tolerance, difference)) < POWER
    else:
        assert float(verdict_power(needed, std, tolerance, difference)) >= POWER
        assert needed == 2 or float(verdict_power(needed - 1, std, tolerance, difference)) < POWER


def not_fewer(one: int | None, other: int | None) -> bool:
    return one is None or (other is not None and one >= other)


@given(stds, st.floats(1, 3), tolerances, differences)
@settings(max_examples=60)
def test_noise_and_a_stricter_level_take_more_seeds(
    std: float, noisier: float, tolerance: float, difference: float
) -> None:
    needed = seeds_needed(std, tolerance, difference)
    assert not_fewer(seeds_needed(noisier * std, tolerance, difference), needed)
    assert not_fewer(seeds_needed(std, tolerance, difference, alpha=0.01), needed)


@given(stds, tolerances, st.floats(0, 0.95), st.floats(0, 1))
@settings(max_examples=60)
def test_a_difference_further_from_the_edge_takes_fewer_seeds(
    std: float, tolerance: float, share: float, part: float
) -> None:
    near, far = share * tolerance, part * share * tolerance
    assert not_fewer(seeds_needed(std, tolerance, near), seeds_needed(std, tolerance, far))
    near, far = (2 - share) * tolerance, (2 - share) * tolerance * (1 + part)
    assert not_fewer(seeds_needed(std, tolerance, near), seeds_needed(std, tolerance, far))


@given(stds, tolerances, differences)
@settings(max_examples=40)
def test_the_sign_of_the_difference_does_not_matter(
    std: float, tolerance: float, difference: float
) -> None:
    assert seeds_needed(std, tolerance, difference) == seeds_needed(std, tolerance, -difference)


def test_a_published_sample_size_of_the_paired_t_test() -> None:
    # Cohen 1988: an effect of half a deviation, two-sided 0.05, power 0.8 takes 34 pairs.
    assert seeds_needed(1.0, 0.0, 0.5) == 34
    assert seeds_needed(1.0, 0.0, 0.5, have=30) == 4
    assert seeds_needed(1.0, 0.0, 0.5, have=40) == 0


def test_on_the_edge_of_the_band_no_number_is_enough() -> None:
    assert seeds_needed(1.0, 0.5, 0.5) is None
    assert seeds_needed(1.0, 0.0, 0.0) is None
    assert seeds_needed(1.0, 0.01) is None


def test_without_noise_two_seeds_do() -> None:
    assert seeds_needed(0.0, 0.5, 0.2) == 2


def test_a_sample_without_a_verdict_is_told_how_many_seeds_more() -> None:
    values = [70.1, 71.2, 70.5]
    found = judge(values, 70.4, 0.5)
    total = seeds_needed(float(np.std(values, ddof=1)), 0.5, 0.2)
    assert total is not None
    assert (found.verdict, found.more_seeds) == (UNDERPOWERED, total - 3)


@pytest.mark.parametrize(
    "settings",
    [{"alpha": 0.5}, {"std": -1.0}, {"tolerance": float("nan")}],
)
def test_impossible_plans_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UserError):
        seeds_needed(**({"std": 1.0, "tolerance": 1.0} | settings))  # type: ignore[arg-type]
