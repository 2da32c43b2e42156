from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from benchmarks.analysis.statistics.profiles import (
    algoperf_score,
    performance_profile,
    performance_ratios,
)
from tasks.errors import UserError

MISSED = float("inf")
costs = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.one_of(st.integers(1, 64).map(float), st.sampled_from([MISSED, float("nan")])),
)


def test_a_small_case_worked_out_by_hand() -> None:
    # Two tasks, three methods. Ratios: 1, 2, missed; 4, 1, 1.5.
    table = [[10.0, 20.0, MISSED], [8.0, 2.0, 3.0]]
    assert performance_ratios(table).tolist() == [[1, 2, MISSED], [4, 1, 1.5]]
    profile = performance_profile(table, [1, 1.5, 2, 4])
    assert profile.tolist() == [[0.5, 0.5, 0.5, 1], [0.5, 0.5, 1, 1], [0, 0.5, 0.5, 0.5]]
    assert algoperf_score(table) == pytest.approx([(1 + 0) / 2, (2 / 3 + 1) / 2, (0 + 2.5 / 3) / 2])


@given(costs, st.floats(1.5, 8))
def test_the_score_is_the_area_under_the_profile(table: np.ndarray, r_max: float) -> None:
    steps = 4000
    width = (r_max - 1) / steps
    taus = 1 + width * (np.arange(steps) + 0.5)
    area = performance_profile(table, taus).mean(axis=1)
    assert algoperf_score(table, r_max) == pytest.approx(area, abs=1 / steps)


@given(costs)
def test_a_profile_rises_with_tau_from_0_to_1(table: np.ndarray) -> None:
    profile = performance_profile(table, np.linspace(1, 70, 50))
    assert profile.shape == (table.shape[1], 50)
    assert ((profile >= 0) & (profile <= 1)).all()
    assert (np.diff(profile, axis=1) >= 0).all()
    assert profile[:, -1] == pytest.approx(np.isfinite(table).mean(axis=0))


@given(costs)
def test_somebody_is_best_on_every_task_that_anybody_did(table: np.ndarray) -> None:
    done = np.isfinite(table).any(axis=1).mean()
    at_best = performance_profile(table, [1.0])[:, 0]
    assert at_best.sum() >= done - 1e-12
    scores = algoperf_score(table)
    assert ((scores >= at_best - 1e-12) & (scores <= 1)).all()


@given(costs, st.sampled_from([0.5, 4.0, 1024.0]))
def test_a_tasks_unit_does_not_matter(table: np.ndarray, scale: float) -> None:
    scaled = table.copy()
    scaled[0] *= scale
    assert algoperf_score(scaled) == pytest.approx(algoperf_score(table))


@given(costs)
def test_a_cheaper_run_never_lowers_ones_own_score(table: np.ndarray) -> None:
    cheaper = table.copy()
    cheaper[0, 0] = 0.5
    assert algoperf_score(cheaper)[0] >= algoperf_score(table)[0] - 1e-12


def test_a_task_that_nobody_did_counts_as_done_by_none() -> None:
    assert algoperf_score([[1.0, 1.0], [MISSED, float("nan")]]).tolist() == [0.5, 0.5]


def test_the_costs_given_are_left_as_they_are() -> None:
    table = np.array([[1.0, np.nan]])
    performance_ratios(table)
    assert np.isnan(table[0, 1])


@pytest.mark.parametrize("table", [[1.0, 2.0], [[]], [[1.0, 0.0]], [[-1.0, 2.0]]])
def test_what_has_no_profile_is_told_in_one_sentence(table: list) -> None:
    with pytest.raises(UserError, match="a profile needs"):
        performance_profile(table, [1.0])


def test_a_profile_ends_above_its_beginning() -> None:
    with pytest.raises(UserError, match="r_max is 1"):
        algoperf_score([[1.0]], r_max=1.0)
