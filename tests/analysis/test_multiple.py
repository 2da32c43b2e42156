from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.analysis.statistics.multiple import false_discovery_adjusted
from tasks.errors import UserError


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_adjusted_p_values_are_those_of_scipy(p_values: list[float]) -> None:
    found = false_discovery_adjusted(p_values)
    assert found == pytest.approx(stats.false_discovery_control(p_values))
    assert (found >= np.array(p_values) * (1 - 1e-12)).all()


def test_no_tests_have_no_adjusted_p_values() -> None:
    assert false_discovery_adjusted([]).shape == (0,)


@pytest.mark.parametrize("p_values", [[[0.5]], [1.5], [-0.1], [float("nan")]])
def test_what_is_no_list_of_p_values_is_refused(p_values: list[float]) -> None:
    with pytest.raises(UserError, match="a plain list of p values"):
        false_discovery_adjusted(p_values)
