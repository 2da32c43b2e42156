"""What fails the gate, what does not, and what it says."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from compare_helpers import Conditions, Values, seeds, write_folder
from hypothesis import assume, given
from hypothesis import strategies as st

from benchmarks.analysis.columns import Column
from benchmarks.analysis.compare.conditions import Conditions as Told
from benchmarks.analysis.compare.gate import Check, columns_judged, judge
from benchmarks.analysis.compare.reference import Entry, Key, Reference, summarise_folders
from benchmarks.analysis.compare.sizes import Size, parse_sizes
from benchmarks.analysis.statistics.independent import independent_effect
from benchmarks.report.gate import conclusion, fails, show_rest, show_tests
from tasks.errors import UserError

BEFORE: Values = {
    "plain": {
        "top1": seeds(90.0, 90.5, 91.0),
        "train_time": seeds(10.0, 10.2, 10.4),
        "params_inference": seeds(1000, 1000, 1000),
    },
    "ours": {"top1": seeds(92.0, 92.5, 93.0), "train_time": seeds(5.0, 5.1, 5.2)},
}


def changed(method: str, metric: str, *values: float | None) -> Values:
    return {**BEFORE, method: {**BEFORE[method], metric: seeds(*values)}}


def gated(
    folder: Path,
    after: Values,
    told: Conditions | None = None,
    before: Values = BEFORE,
    metrics: tuple[str, ...] = (),
    smallest: tuple[str, ...] = (),
) -> list[Check]:
    reference = summarise_folders([write_folder(folder / "before", before)])
    found = summarise_folders([write_folder(folder / "after", after, told)])
    columns = columns_judged(metrics, reference, found)
    return judge(reference, found, columns, smallest=parse_sizes(smallest, columns, "--smallest"))


def failing(checks: list[Check]) -> list[tuple[str, str, str]]:
    return [(c.word, c.key.method, c.key.metric) for c in checks if fails([c], strict=False)]


def test_the_same_results_pass(tmp_path: Path) -> None:
    checks = gated(tmp_path, BEFORE)
    assert {check.word for check in checks} == {"not worse"}
    assert len(checks) == 5


def test_worse_within_noise_passes_and_beyond_it_fails_by_the_stated_test(tmp_path: Path) -> None:
    within = gated(tmp_path / "a", changed("plain", "top1", 89.8, 90.3, 90.8))
    assert failing(within) == []
    checks = gated(tmp_path / "b", changed("plain", "top1", 80.0, 80.5, 81.0))
    assert failing(checks) == [("worse", "plain", "top1")]
    (worse,) = [check for check in checks if check.word == "worse"]
    alone = independent_effect([80, 80.5, 81], [90, 90.5, 91], "less")
    assert worse.tested is not None
    assert (worse.tested.test, worse.tested.p_value) == ("Welch's t test", alone.p_value)
    # The smallest of four p values, as parameters have no noise to test with.
    assert worse.p_adjusted == pytest.approx(4 * (alone.p_value or 0))
    assert worse.as_dict()["confidence"] == pytest.approx(1 - 4 * (alone.p_value or 0))


def test_better_passes(tmp_path: Path) -> None:
    values = {
        **BEFORE,
        "plain": {"top1": seeds(95.0, 95.5, 96.0), "train_time": seeds(5, 5.1, 5.2),
                  "params_inference": seeds(900, 900, 900)},
    }  # fmt: skip
    assert failing(gated(tmp_path, values)) == []


def test_a_single_parameter_more_fails(tmp_path: Path) -> None:
    checks = gated(tmp_path, changed("plain", "params_inference", 1001, 1001, 1001))
    assert failing(checks) == [("worse", "plain", "params_inference")]
    assert checks[0].tested is not None
    assert checks[0].tested.test == "exact count"


@pytest.mark.parametrize("metric", ["top1", "mem_peak_resident"])
def test_values_without_any_noise_are_judged_as_exact(tmp_path: Path, metric: str) -> None:
    sign = -1 if metric == "top1" else 1
    before: Values = {"plain": {metric: seeds(90, 90, 90)}}
    after: Values = {"plain": {metric: seeds(*[90 + sign] * 3)}}
    (worse,) = gated(tmp_path / "a", after, before=before, metrics=(metric,))
    assert (worse.word, worse.p_adjusted, worse.worsening) == ("worse", None, 1)
    assert worse.as_dict()["test"] == "exact"
    (better,) = gated(tmp_path / "b", before, before=after, metrics=(metric,))
    assert (better.word, better.worsening) == ("not worse", -1)
    size = (f"{metric}=1",)
    (small,) = gated(tmp_path / "c", after, before=before, metrics=(metric,), smallest=size)
    assert small.word == "not worse"


@pytest.mark.parametrize("metric", ["top1", "train_time"])
def test_single_runs_with_the_same_value_are_no_worse(tmp_path: Path, metric: str) -> None:
    same: Values = {"plain": {metric: seeds(90)}}
    (check,) = gated(tmp_path, same, before=same, metrics=(metric,))
    assert (check.word, check.worsening) == ("not worse", 0)


def test_of_single_runs_counts_are_judged_and_the_rest_where_a_size_is_given(
    tmp_path: Path,
) -> None:
    before: Values = {"plain": {"top1": seeds(90), "params_inference": seeds(1000)}}
    after: Values = {"plain": {"top1": seeds(89), "params_inference": seeds(1001)}}
    checks = gated(tmp_path / "a", after, before=before)
    words = {check.key.metric: check.word for check in checks}
    assert words == {"params_inference": "worse", "top1": "not judged"}
    assert fails([c for c in checks if c.word == "not judged"], strict=True)
    checks = gated(tmp_path / "b", after, before=before, smallest=("top1=0.5",))
    assert ("worse", "plain", "top1") in failing(checks)
    checks = gated(tmp_path / "c", after, before=before, smallest=("top1=2",))
    assert ("worse", "plain", "top1") not in failing(checks)


def test_a_real_worsening_below_the_smallest_that_counts_passes(tmp_path: Path) -> None:
    slower = changed("plain", "train_time", 10.6, 10.8, 11.0)
    assert failing(gated(tmp_path / "a", slower)) == [("worse", "plain", "train_time")]
    assert failing(gated(tmp_path / "b", slower, smallest=("train_time=10%",))) == []
    assert failing(gated(tmp_path / "c", slower, smallest=("train_time=5%",))) != []


def test_a_method_that_vanished_fails_once(tmp_path: Path) -> None:
    checks = gated(tmp_path, {"plain": BEFORE["plain"]})
    assert failing(checks) == [("vanished", "ours", "")]
    assert show_rest(checks) == [
        "vanished: digits, small, ours: the reference has it, and these results do not"
    ]


def test_a_network_that_vanished_fails_and_one_that_is_new_is_told(tmp_path: Path) -> None:
    before: Values = {"a:super": {"top1": seeds(90, 91)}, "a:base": {"top1": seeds(80, 81)}}
    after: Values = {"a:super": {"top1": seeds(90, 91)}, "a:tiny": {"top1": seeds(80, 81)}}
    checks = gated(tmp_path, after, before=before)
    told = {(check.word, check.key.variant) for check in checks}
    assert told == {("vanished", "base"), ("new", "tiny"), ("not worse", "super")}


def test_a_method_that_failed_fails_with_its_reason(tmp_path: Path) -> None:
    told = Conditions(failed={("ours", 2): "loss became NaN"})
    values = {**BEFORE, "ours": {"top1": seeds(92.0, 92.5), "train_time": seeds(5.0, 5.1)}}
    checks = gated(tmp_path / "a", values, told)
    assert failing(checks) == [("failed", "ours", "")]
    assert checks[0].reason == "seed 2: loss became NaN"
    told = Conditions(failed={("ours", s): "loss became NaN" for s in range(3)})
    checks = gated(tmp_path / "b", {"plain": BEFORE["plain"], "ours": {}}, told)
    assert failing(checks) == [("failed", "ours", "")]
    assert checks[0].reason == "seeds 0, 1, 2: loss became NaN"


def test_a_metric_that_is_no_longer_measured_fails_with_its_reason(tmp_path: Path) -> None:
    checks = gated(tmp_path, changed("ours", "top1", None, None, None))
    assert failing(checks) == [("vanished", "ours", "top1")]
    assert checks[0].reason == "no meter"


def test_new_methods_are_told_and_a_new_one_that_failed_too(tmp_path: Path) -> None:
    told = Conditions(failed={("newer", 0): "no such layer"})
    checks = gated(tmp_path, {**BEFORE, "new": BEFORE["ours"], "newer": {}}, told)
    assert failing(checks) == []
    new = {check.key.method: check.reason for check in checks if check.word == "new"}
    assert new == {"new": "the reference does not have it", "newer": "seed 0: no such layer"}


def test_times_are_judged_on_the_same_hardware_alone(tmp_path: Path) -> None:
    slower = {
        name: {**metrics, "train_time": seeds(50, 51, 52)} for name, metrics in BEFORE.items()
    }
    checks = gated(tmp_path, slower, Conditions(hardware="A GPU"))
    assert failing(checks) == []
    reason = "other hardware: Some CPU, 1 thread before, A GPU, 1 thread now"
    assert show_rest(checks) == [
        "not comparable: training time ↓ (s), digits, small, ours; digits, small, plain: " + reason
    ]
    assert fails(checks, strict=True)
    assert "gate failed: 3 judged, 2 not comparable." in conclusion(checks, 0.05, strict=True)
    assert "gate passed: 3 judged, 2 not comparable." in conclusion(checks, 0.05, strict=False)


@pytest.mark.parametrize(
    "other", [{"epochs": 8}, {"profile": "paper"}, {"amp": "float16"}, {"data": "x"}]
)
def test_other_budgets_and_data_are_not_comparable(tmp_path: Path, other: dict[str, Any]) -> None:
    checks = gated(tmp_path, BEFORE, replace(Conditions(), **other))
    assert {check.word for check in checks} == {"not comparable"}


def test_another_suite_is_an_error_that_names_both(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has the suites mine, and not other: name another"):
        gated(tmp_path, BEFORE, Conditions(suite="other"))


def test_metrics_can_be_chosen_and_unknown_ones_are_told(tmp_path: Path) -> None:
    before: Values = {"plain": {"nll": seeds(1.0, 1.1), "batches": seeds(5, 5)}}
    assert [c.key.metric for c in gated(tmp_path, before, before=before, metrics=("nll",))] == [
        "nll"
    ]
    with pytest.raises(UserError, match="batches has no better direction"):
        gated(tmp_path, before, before=before, metrics=("batches",))
    with pytest.raises(UserError, match=r"unknown metric 'nlll' .did you mean 'nll'"):
        gated(tmp_path, before, before=before, metrics=("nlll",))
    with pytest.raises(UserError, match="unknown metric in the results and the reference 'ece'"):
        gated(tmp_path, before, before=before, metrics=("ece",))


def test_the_text_says_what_changed_by_how_much_and_how_sure(tmp_path: Path) -> None:
    checks = gated(tmp_path, changed("plain", "top1", 80.0, 80.5, 81.0))
    first = show_tests(checks).splitlines()[2]
    for cell in ("digits, small, plain, full", "90.50 (n = 3)", "80.50 (n = 3)", "−10.00"):
        assert cell in first
    assert "worse (99.9 % confidence)" in first
    assert conclusion(checks, 0.05, strict=False).startswith("gate failed: 5 judged, 1 worse. p is")


# What always holds, on entries made directly.


def key(method: str, metric: str) -> Key:
    phase = {"train_time": "training", "top1": "test"}[metric]
    return Key("s", "t", "d", "a", method, "full", phase, metric)


VALUES = st.lists(st.floats(1, 1000), min_size=2, max_size=6)
TABLES = st.dictionaries(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["top1", "train_time"])),
    VALUES,
    min_size=1,
)
COLUMNS = [Column("top1", "test"), Column("train_time", "training")]


def reference(table: dict[tuple[str, str], list[float]]) -> Reference:
    entries = {key(*k): Entry("", dict(enumerate(v)), Told()) for k, v in table.items()}
    return Reference(entries, {})


@given(TABLES)
def test_the_gate_never_fails_on_identical_results(
    table: dict[tuple[str, str], list[float]],
) -> None:
    checks = judge(reference(table), reference(table), COLUMNS)
    assert len(checks) == len(table)
    assert not fails(checks, strict=True)


@given(TABLES)
def test_the_gate_fails_all_that_moved_by_ten_deviations(
    table: dict[tuple[str, str], list[float]],
) -> None:
    assume(all(stdev(values) > 1e-6 * abs(fmean(values)) for values in table.values()))
    moved = {
        k: [x + (-10 if k[1] == "top1" else 10) * stdev(v) for x in v] for k, v in table.items()
    }
    checks = judge(reference(table), reference(moved), COLUMNS)
    assert {check.word for check in checks} == {"worse"}


@given(TABLES, st.floats(0.001, 0.2))
def test_the_gate_passes_all_that_got_better(
    table: dict[tuple[str, str], list[float]], share: float
) -> None:
    better = {
        k: [x * (1 + share if k[1] == "top1" else 1 - share) for x in v] for k, v in table.items()
    }
    assert not fails(judge(reference(table), reference(better), COLUMNS), strict=True)


def test_chance_alone_fails_the_gate_about_as_rarely_as_alpha_says() -> None:
    rng = random.Random(0)
    failed = 0
    for _ in range(200):
        tables = [
            {(m, "top1"): [rng.gauss(90, 1) for _ in range(3)] for m in "abcdef"} for _ in range(2)
        ]
        failed += fails(judge(*map(reference, tables), COLUMNS), strict=False)
    # Without the adjustment it would be 1 - 0.95**6 = 26 % of 200.
    assert failed <= 20


def test_sizes_are_absolute_or_a_share_of_the_value() -> None:
    assert Size(0.5).of(90) == 0.5
    assert Size(0.1, relative=True).of(-90) == 9
