from __future__ import annotations

import statistics
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from sample_strategies import samples

from benchmarks.analysis.statistics.samples import Interval, describe, geometric_mean
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


def test_the_mean_of_a_ratio_and_of_its_inverse_is_one() -> None:
    assert geometric_mean([0.25, 4.0]) == pytest.approx(1)
    assert geometric_mean([2.0, 4.0, 8.0]) == pytest.approx(4)


@pytest.mark.parametrize("values", [[], [1.0, 0.0], [-1.0]])
def test_a_geometric_mean_refuses_what_has_none(values: list[float]) -> None:
    with pytest.raises(UserError, match="positive"):
        geometric_mean(values)


def test_the_ends_of_an_interval_belong_to_it() -> None:
    interval = Interval(1.0, 2.0)
    assert interval.contains(1.0)
    assert interval.contains(2.0)
    assert not interval.contains(2.1)


def test_statistics_never_load_torch_and_a_mean_not_even_scipy() -> None:
    code = (
        "import sys, benchmarks.analysis.statistics.samples\n"
        "assert not {'scipy', 'numpy', 'torch'} & set(sys.modules)\n"
        "from benchmarks.analysis.statistics import paired, equivalence, noise, ranks, pareto\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
