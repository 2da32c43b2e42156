from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from benchmarks.analysis.statistics.ranks import R_MAX, algoperf_score
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
    assert algoperf_score(table) == pytest.approx([(1 + 0) / 2, (2 / 3 + 1) / 2, (0 + 2.5 / 3) / 2])


@given(costs)
def test_the_score_is_the_area_under_the_performance_profile(table: np.ndarray) -> None:
    missed = ~np.isfinite(table)
    filled = np.where(missed, 1e9, table)
    ratios = np.where(missed, np.inf, filled / filled.min(axis=1, keepdims=True))
    steps = 4000
    taus = 1 + (R_MAX - 1) / steps * (np.arange(steps) + 0.5)
    profile = (ratios[:, :, None] <= taus).mean(axis=0)
    assert algoperf_score(table) == pytest.approx(profile.mean(axis=1), abs=1 / steps)


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
    algoperf_score(table)
    assert np.isnan(table[0, 1])


@pytest.mark.parametrize("table", [[1.0, 2.0], [[]], [[1.0, 0.0]], [[-1.0, 2.0]]])
def test_what_has_no_score_is_said_in_one_sentence(table: list) -> None:
    with pytest.raises(UserError, match="a profile needs"):
        algoperf_score(table)
