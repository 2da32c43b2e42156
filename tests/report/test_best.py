"""Bold only where the seeds can carry it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from scipy import stats

from benchmarks.analysis.best import supported_best
from benchmarks.analysis.columns import Column
from benchmarks.analysis.summary import summarise
from benchmarks.records.row import Measurement, Row

TOP1 = Column("top1", "test")
TIME = Column("train_time", "training")
PARAMS = Column("params_inference", "inference")


def best(column: Column, values: Mapping[str, Sequence[float]], arch: str = "a") -> list[str]:
    """Names ``method/variant`` of the cells in bold; a metric of the run has no variant."""
    rows = []
    for name, of_seeds in values.items():
        method, _, variant = name.partition("/")
        for seed, value in enumerate(of_seeds):
            identity = {"suite": "s", "run_id": f"{method}{seed}", "task": "t", "dataset": "d"}
            of_run = column is TIME
            phase = "train" if of_run else column.phase
            rows.append(
                Row.of(
                    Measurement(column.metric, value),
                    arch=method.partition("@")[2] or arch,
                    method=method,
                    variant="" if of_run else variant,
                    seed=seed,
                    phase=phase,
                    **identity,
                )
            )
            if of_run and variant:
                for name_of in variant.split("+"):
                    rows.append(
                        Row.of(
                            Measurement("ece", 1.0),
                            arch=arch,
                            method=method,
                            variant=name_of,
                            seed=seed,
                            phase="test",
                            **identity,
                        )
                    )
    lines = summarise(rows, [column])
    found = supported_best(lines, [column])
    return sorted(f"{lines[n].method}/{lines[n].variant}".rstrip("/") for n, _ in found)


def test_a_difference_within_noise_is_not_bold() -> None:
    values = {"a": [90.0, 92.0, 94.0], "b": [91.0, 91.0, 93.0]}
    assert stats.ttest_rel(values["a"], values["b"]).pvalue > 0.05
    assert best(TOP1, values) == []


def test_a_difference_beyond_noise_is_bold() -> None:
    values = {"a": [90.0, 92.0, 94.0], "b": [89.0, 90.9, 93.1]}
    assert stats.ttest_rel(values["a"], values["b"]).pvalue < 0.05
    assert best(TOP1, values) == ["a"]


def test_the_best_must_beat_every_other() -> None:
    values = {"a": [90.0, 92.0, 94.0], "b": [89.0, 90.9, 93.1], "c": [89.0, 92.9, 93.9]}
    assert best(TOP1, values) == []


def test_lower_is_better_for_costs() -> None:
    values = {"a": [10.0, 10.2, 10.1], "b": [20.0, 20.5, 20.2], "c": [30.0, 30.1, 30.2]}
    assert best(TIME, values) == ["a"]


def test_variants_share_what_belongs_to_their_run() -> None:
    values = {"a/super+base": [10.0, 10.2, 10.1], "b": [20.0, 20.5, 20.2]}
    assert best(TIME, values) == ["a/base", "a/super"]


def test_one_seed_carries_a_count_and_nothing_else() -> None:
    values = {"a": [100.0], "b": [200.0]}
    assert best(PARAMS, values) == ["a"]
    assert best(TOP1, values) == []


def test_equal_counts_are_not_bold() -> None:
    assert best(PARAMS, {"a": [100.0], "b": [100.0]}) == []
    assert best(PARAMS, {"a": [100.0, 100.0], "b": [100.0, 100.0]}) == []


def test_counts_that_are_the_same_for_all_seeds_are_exact() -> None:
    assert best(PARAMS, {"a": [100.0, 100.0], "b": [200.0, 200.0]}) == ["a"]
    assert best(Column("mem_parameters", "train"), {"a": [100.0], "b": [200.0]}) == ["a"]


@pytest.mark.parametrize(("seeds", "bold"), [(3, []), (6, ["a"])])
def test_accuracies_that_differ_equally_are_bold_where_compare_calls_them_better(
    seeds: int, bold: list[str]
) -> None:
    # Two equal differences of accuracies are a coincidence: the sign-flip test decides.
    values = {"a": [90.0 + i for i in range(seeds)], "b": [89.0 + i for i in range(seeds)]}
    assert best(TOP1, values) == bold


def test_only_common_seeds_are_paired() -> None:
    assert best(TOP1, {"a": [90.0, 92.0, 94.0], "b": [89.0]}) == []


def test_settings_are_not_compared_with_each_other() -> None:
    values = {"a@x": [90.0, 92.0, 94.0], "b@y": [50.0, 52.0, 54.0]}
    assert best(TOP1, values) == []


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_network_is_not_the_best(count: int) -> None:
    assert best(TOP1, {"a": [90.0, 91.0]} if count else {}) == []


def test_a_metric_without_a_direction_has_no_best() -> None:
    assert best(Column("batches", "test"), {"a": [1.0, 1.0], "b": [2.0, 2.0]}) == []
