from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from sample_strategies import samples

from benchmarks.analysis.statistics.samples import describe
from tasks.errors import UserError


@given(samples(least=1, most=12))
def test_mean_and_deviation_are_those_of_the_standard_library(values: np.ndarray) -> None:
    found = describe(values.tolist())
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.n == len(values)
    if len(values) > 1:
        assert found.std == pytest.approx(statistics.stdev(values.tolist()))
    else:
        assert found.std is None


def test_equal_values_have_exactly_their_mean_and_no_deviation() -> None:
    assert describe([0.1] * 3).mean == 0.1
    assert describe([0.1] * 3).std == 0.0


def test_no_values_have_no_mean() -> None:
    with pytest.raises(UserError, match="at least one value"):
        describe([])
