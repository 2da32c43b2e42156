from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.analysis.statistics.pareto import pareto_front
from tasks.errors import UserError

numbers = st.one_of(st.integers(0, 6).map(float), st.just(float("nan")))


@st.composite
def clouds(draw: st.DrawFn) -> tuple[np.ndarray, tuple[str, ...]]:
    columns = draw(st.integers(1, 3))
    rows = draw(st.lists(st.lists(numbers, min_size=columns, max_size=columns), max_size=12))
    better = draw(st.tuples(*[st.sampled_from(["higher", "lower"])] * columns))
    return np.array(rows).reshape(-1, columns), better


def dominates(one: np.ndarray, other: np.ndarray, better: tuple[str, ...]) -> bool:
    pairs = list(zip(one, other, better, strict=True))
    at_least = all(a >= b if up == "higher" else a <= b for a, b, up in pairs)
    return at_least and any(a != b for a, b, _ in pairs)


@given(clouds())
def test_it_is_what_no_other_point_dominates(cloud: tuple[np.ndarray, tuple[str, ...]]) -> None:
    points, better = cloud
    measured = ~np.isnan(points).any(axis=1)
    expected = measured.copy()
    for i, j in product(np.flatnonzero(measured), repeat=2):
        expected[i] &= not dominates(points[j], points[i], better)
    assert pareto_front(points, better).tolist() == expected.tolist()


@given(clouds(), st.randoms(use_true_random=False))
def test_the_order_of_the_points_does_not_matter(cloud: tuple, random: object) -> None:
    points, better = cloud
    order = np.arange(len(points))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert (pareto_front(points[order], better) == pareto_front(points, better)[order]).all()


def test_cheaper_and_better_is_the_front() -> None:
    cost_and_quality = [[1.0, 70.0], [2.0, 75.0], [2.0, 74.0], [3.0, 75.0], [4.0, 80.0]]
    assert pareto_front(cost_and_quality).tolist() == [True, True, False, False, True]


def test_equal_points_are_on_the_front_together() -> None:
    assert pareto_front([[1.0, 70.0], [1.0, 70.0], [1.0, 69.0]]).tolist() == [True, True, False]


def test_what_was_not_measured_is_not_on_the_front() -> None:
    assert pareto_front([[float("nan"), 99.0], [1.0, 70.0]]).tolist() == [False, True]


def test_no_points_have_no_front() -> None:
    assert pareto_front(np.empty((0, 2))).tolist() == []


def test_ten_thousand_points_take_no_second() -> None:
    points = np.random.default_rng(0).normal(size=(10_000, 2))
    started = time.perf_counter()
    assert 2 < pareto_front(points).sum() < 100
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("points", [[1.0, 2.0], [[1.0, 2.0, 3.0]], []])
def test_every_column_needs_a_direction(points: list) -> None:
    with pytest.raises(UserError, match="a column for each of 2 directions"):
        pareto_front(points)
