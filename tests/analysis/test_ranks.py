from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import stats

from benchmarks.analysis.statistics.ranks import critical_difference, rank_table
from tasks.errors import UserError

tables = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.integers(0, 9).map(float),
)

# Demšar 2006, table 6: AUC of C4.5 and three variants on 14 data sets.
DEMSAR = np.array([
    [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
])  # fmt: skip


def test_a_published_table_has_its_published_ranks() -> None:
    found = rank_table(DEMSAR, "higher")
    assert found.mean_ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert found.p_value is not None
    assert found.p_value < 0.05


@pytest.mark.parametrize(("methods", "q"), [(3, 2.343), (4, 2.569), (10, 3.164)])
def test_the_critical_difference_is_that_of_the_published_constants(methods: int, q: float) -> None:
    expected = q * np.sqrt(methods * (methods + 1) / (6 * 14))
    assert critical_difference(14, methods) == pytest.approx(expected, rel=5e-4)


@given(tables)
@settings(max_examples=50)
def test_ranks_are_those_of_scipy(table: np.ndarray) -> None:
    lower, higher = rank_table(table, "lower"), rank_table(table, "higher")
    assert (lower.ranks == stats.rankdata(table, axis=1)).all()
    assert (higher.ranks == table.shape[1] + 1 - lower.ranks).all()
    assert lower.mean_ranks.sum() == pytest.approx(table.shape[1] * (table.shape[1] + 1) / 2)


@given(tables)
@settings(max_examples=50)
def test_friedmans_test_is_that_of_scipy_where_there_is_one(table: np.ndarray) -> None:
    tasks, methods = table.shape
    found = rank_table(table, "lower")
    if tasks < 2 or methods < 3 or (np.ptp(table, axis=1) == 0).all():
        assert (found.p_value, found.critical_difference) == (None, None)
    else:
        assert found.p_value == pytest.approx(stats.friedmanchisquare(*table.T).pvalue)
        assert found.p_value == rank_table(table, "higher").p_value


def test_what_was_not_measured_ranks_last() -> None:
    found = rank_table([[float("nan"), 3.0, float("nan"), 5.0]], "higher")
    assert found.ranks.tolist() == [[3.5, 2.0, 3.5, 1.0]]
    assert rank_table([[float("nan"), 3.0, 5.0]], "lower").ranks.tolist() == [[3, 1, 2]]


def test_what_cannot_be_ranked_is_told_in_one_sentence() -> None:
    with pytest.raises(UserError, match="a row a task"):
        rank_table([1.0, 2.0], "lower")
    with pytest.raises(UserError, match="did you mean 'higher'"):
        rank_table([[1.0, 2.0]], "hihger")
