"""What ``compare`` finds in results whose differences were worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from compare_helpers import Conditions, Values, seeds, write_folder

from benchmarks.analysis.compare.comparing import compare_results
from benchmarks.analysis.compare.pairs import Comparison
from benchmarks.analysis.statistics.power import seeds_needed
from benchmarks.report.comparison import failed, notes
from tasks.errors import UserError

T2 = 4.302652729911275
"""The 97.5 % quantile of Student's t with 2 degrees of freedom."""


def compared(folder: Path, values: Values, **more: Any) -> list[Comparison]:
    told = more.pop("told", None)
    return list(compare_results([write_folder(folder, values, told)], **more).comparisons)


def only(folder: Path, values: Values, metric: str, **more: Any) -> Comparison:
    (found,) = compared(folder, values, metrics=[metric], **more)
    return found


def top1(*values: float | None) -> dict[str, dict[int, float | None]]:
    return {"top1": seeds(*values)}


def test_a_paired_difference_is_that_worked_out_by_hand(tmp_path: Path) -> None:
    found = only(tmp_path, {"plain": top1(90, 92, 95), "ours": top1(91, 95, 96)}, "top1")
    # Differences 1, 3, 1: mean 5/3, deviation sqrt(4/3), so that t is 2.5.
    assert found.seeds == (0, 1, 2)
    assert (found.mean, found.baseline_mean) == pytest.approx((94, 277 / 3))
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(5 / 3)
    assert found.difference.std == pytest.approx(math.sqrt(4 / 3))
    assert found.difference.t_interval is not None
    assert found.difference.t_interval.low == pytest.approx(5 / 3 - T2 * 2 / 3)
    assert found.difference.t_interval.high == pytest.approx(5 / 3 + T2 * 2 / 3)
    # With 2 degrees of freedom the two-sided p is 1 - t / sqrt(t^2 + 2).
    assert found.verdict.p_value == pytest.approx(1 - 2.5 / math.sqrt(8.25))
    assert found.verdict.word == "no difference shown"
    assert found.ratio is None


def test_a_cost_is_judged_by_its_ratio_seed_by_seed(tmp_path: Path) -> None:
    values = {
        "plain": {"train_time": seeds(10, 20, 40)},
        "ours": {"train_time": seeds(5, 10.5, 19)},
    }
    found = only(tmp_path, values, "train_time")
    logs = [math.log(0.5), math.log(0.525), math.log(0.475)]
    mean = sum(logs) / 3
    half = T2 * math.sqrt(sum((x - mean) ** 2 for x in logs) / 2 / 3)
    assert found.ratio is not None
    assert found.ratio.t_interval is not None
    assert found.ratio.mean == pytest.approx((0.5 * 0.525 * 0.475) ** (1 / 3))
    assert found.ratio.t_interval.low == pytest.approx(math.exp(mean - half))
    assert found.ratio.t_interval.high == pytest.approx(math.exp(mean + half))
    # The differences, -5, -9.5 and -21, would show nothing.
    assert found.difference is not None
    assert found.difference.p_value is not None
    assert found.difference.p_value > 0.05
    assert found.verdict.word == "better"


@pytest.mark.parametrize(
    ("metric", "ours", "word"),
    [
        ("top1", (91.0, 93.1, 95.9), "better"),
        ("top1", (89.0, 91.1, 93.9), "worse"),
        ("train_time", (91.0, 93.1, 95.9), "worse"),
        ("nll", (89.0, 91.1, 93.9), "better"),
        ("batches", (91.0, 93.1, 95.9), "higher"),
        ("batches", (89.0, 91.1, 93.9), "lower"),
        ("top1", (90.0, 92.0, 95.0), "equal"),
    ],
)
def test_verdicts_know_which_way_is_better(
    tmp_path: Path, metric: str, ours: tuple[float, ...], word: str
) -> None:
    values = {"plain": {metric: seeds(90, 92, 95)}, "ours": {metric: seeds(*ours)}}
    assert only(tmp_path, values, metric).verdict.word == word


def test_accuracies_that_differ_equally_in_few_seeds_prove_nothing(tmp_path: Path) -> None:
    found = only(tmp_path, {"plain": top1(90, 92, 95), "ours": top1(91, 93, 96)}, "top1")
    assert found.verdict.word == "no difference shown"
    assert found.verdict.test == "sign-flip test"
    assert found.verdict.p_value == pytest.approx(2 / 2**3)
    assert found.verdict.more_seeds == 3


def test_six_seeds_that_differ_equally_do(tmp_path: Path) -> None:
    values = {"plain": top1(*range(80, 86)), "ours": top1(*range(81, 87))}
    found = only(tmp_path, values, "top1")
    assert (found.verdict.word, found.verdict.p_value) == ("better", pytest.approx(2 / 2**6))


def test_a_difference_beyond_noise_but_within_the_tolerance_is_not_better(tmp_path: Path) -> None:
    values = {"plain": top1(90, 92, 95), "ours": top1(90.8, 92.9, 96.0)}
    assert only(tmp_path / "a", values, "top1").verdict.word == "better"
    found = only(tmp_path / "b", values, "top1", tolerances=["top1=1"])
    # 0.9 is less than 1, but the seeds leave room for more.
    assert found.verdict.word == "no difference shown"
    assert found.verdict.p_value is not None
    assert found.verdict.p_value < 0.05
    wide = only(tmp_path / "c", values, "top1", tolerances=["top1=0.85"])
    assert wide.verdict.word == "better"


def test_counts_too_large_for_their_logarithms_are_still_told_apart(tmp_path: Path) -> None:
    values = {"plain": {"macs": seeds(10**15, 10**15)}, "ours": {"macs": seeds(*[10**15 + 1] * 2)}}
    assert only(tmp_path, values, "macs").verdict.word == "worse"


@pytest.mark.parametrize(
    ("ours", "word"), [(300_000, "better"), (465_480, "equal"), (465_481, "worse")]
)
@pytest.mark.parametrize("n", [1, 2])
def test_counts_need_no_interval(tmp_path: Path, ours: float, word: str, n: int) -> None:
    values = {
        "plain": {"params_inference": seeds(*[465_480] * n)},
        "ours": {"params_inference": seeds(*[ours] * n)},
    }
    found = only(tmp_path, values, "params_inference")
    assert (found.verdict.word, found.verdict.test) == (word, "exact count")
    assert found.verdict.p_value is None


def test_counts_that_training_decides_are_tested_like_anything_else(tmp_path: Path) -> None:
    values = {
        "plain": {"params_inference": seeds(5000, 9000, 5000)},
        "ours": {"params_inference": seeds(9000, 5000, 5000)},
    }
    found = only(tmp_path, values, "params_inference")
    assert found.verdict.word == "no difference shown"
    assert found.verdict.p_value == pytest.approx(1)


@pytest.mark.parametrize(
    ("tolerance", "word"),
    [
        ("top1=2", "equivalent"),
        ("top1=0.2", "no difference shown"),
        ("top1=0", "no difference shown"),
    ],
)
def test_equivalence_is_tested_where_a_tolerance_is_given(
    tmp_path: Path, tolerance: str, word: str
) -> None:
    values = {"plain": top1(90, 92, 95), "ours": top1(90.2, 91.9, 95.1)}
    assert only(tmp_path, values, "top1", tolerances=[tolerance]).verdict.word == word


def test_a_tolerance_in_percent_bounds_the_ratio(tmp_path: Path) -> None:
    values = {
        "plain": {"train_time": seeds(10, 20, 40)},
        "ours": {"train_time": seeds(10.2, 20.5, 40.6)},
    }
    slower = only(tmp_path / "a", values, "train_time")
    assert slower.verdict.word == "worse"
    same = only(tmp_path / "b", values, "train_time", tolerances=["train_time=5%"])
    assert same.verdict.word == "equivalent"


@pytest.mark.parametrize(
    ("tolerance", "sentence"),
    [
        ("top1", "cannot read --tolerance 'top1': write it as top1=0.5"),
        ("top1=-1", "cannot read --tolerance 'top1=-1'"),
        ("top1=1%", "could be points or a share of the value: .* write top1=1 for points"),
        ("nll=5%", "nll has none: give it in the metric's own unit, such as nll=0.5"),
        ("trian_time=1", "unknown metric 'trian_time' .did you mean 'train_time'"),
        ("macs=1", "unknown metric of --tolerance in this comparison 'macs'"),
    ],
)
def test_tolerances_that_mean_nothing_are_refused(
    tmp_path: Path, tolerance: str, sentence: str
) -> None:
    both = {"top1": seeds(90, 92), "nll": seeds(1, 2)}
    folder = write_folder(tmp_path, {"plain": both, "ours": {k: seeds(93, 3) for k in both}})
    with pytest.raises(UserError, match=sentence):
        compare_results([folder], ["top1", "nll"], tolerances=[tolerance])


def test_the_seeds_that_a_verdict_would_take_are_those_of_the_power_analysis(
    tmp_path: Path,
) -> None:
    found = only(tmp_path, {"plain": top1(90, 92, 95), "ours": top1(91, 91.5, 96)}, "top1")
    exact = seeds_needed(math.sqrt(0.75), 0, 0.5, have=3)
    assert found.verdict.more_seeds is not None
    assert exact is not None
    assert found.verdict.more_seeds == pytest.approx(exact, rel=0.03, abs=1)


def test_a_difference_too_small_for_any_number_of_seeds_says_so(tmp_path: Path) -> None:
    found = only(tmp_path, {"plain": top1(90, 92), "ours": top1(95, 87.0001)}, "top1")
    assert found.verdict.word == "no difference shown"
    assert found.verdict.more_seeds is None


def test_only_seeds_that_both_have_count_and_the_others_are_told(tmp_path: Path) -> None:
    values = {"plain": top1(90, 92, 95), "ours": top1(91, None, 96)}
    told = Conditions(failed={("ours", 3): "out of memory", ("plain", 3): "out of time"})
    found = compare_results([write_folder(tmp_path, values, told)], ["top1"])
    (pair,) = found.comparisons
    assert pair.seeds == (0, 2)
    assert pair.baseline_mean == pytest.approx(92.5)
    assert pair.reasons == (
        "seed 1: no meter",
        "seed 3: the run failed",
        "seed 3: of plain, the run failed",
    )
    assert failed(found) == [
        "failed: plain, seed 3: out of time",
        "failed: ours, seed 3: out of memory",
    ]


def test_what_a_whole_run_has_is_compared_once_and_networks_each(tmp_path: Path) -> None:
    values = {
        "plain": {"top1": seeds(90, 92), "train_time": seeds(10, 20)},
        "ours:super": {"top1": seeds(91, 92), "train_time": seeds(11, 20)},
        "ours:base": {"top1": seeds(80, 82)},
    }
    found = compared(tmp_path, values, metrics=["top1", "train_time"])
    told = [(each.column.metric, each.network.variant, each.baseline.variant) for each in found]
    assert told == [("top1", "super", "full"), ("top1", "base", "full"), ("train_time", "", "")]


def test_variants_meet_their_namesakes_unless_one_is_named(tmp_path: Path) -> None:
    values = {
        "a:super": top1(90, 92),
        "a:base": top1(80, 83),
        "b:base": top1(81, 82),
        "b:super": top1(91, 92),
    }
    folder = write_folder(tmp_path, values)

    def pairs(baseline: str) -> list[tuple[str, str, str]]:
        found = compare_results([folder], ["top1"], baseline).comparisons
        return [(e.network.method, e.network.variant, e.baseline.variant) for e in found]

    assert sorted(pairs("a")) == [("b", "base", "base"), ("b", "super", "super")]
    assert sorted(pairs("a:super")) == [
        ("a", "base", "super"),
        ("b", "base", "super"),
        ("b", "super", "super"),
    ]


@pytest.mark.parametrize(
    ("baseline", "sentence"),
    [
        ("plian", "unknown baseline 'plian' .did you mean 'plain'"),
        ("plain:ful", "unknown variant of plain 'ful' .did you mean 'full'"),
    ],
)
def test_an_unknown_baseline_is_told_with_the_nearest(
    tmp_path: Path, baseline: str, sentence: str
) -> None:
    folder = write_folder(tmp_path, {"plain": top1(90, 92), "ours": top1(91, 92)})
    with pytest.raises(UserError, match=sentence):
        compare_results([folder], ["top1"], baseline)


def test_the_baseline_is_that_of_the_suite(tmp_path: Path) -> None:
    values = {"ours": top1(91, 92), "end_to_end": top1(90, 92)}
    assert only(tmp_path / "a", values, "top1").baseline.method == "ours"
    bare = Conditions(manifests=False)
    assert only(tmp_path / "b", values, "top1", told=bare).baseline.method == "end_to_end"
    values = {"ours": top1(91, 92), "plain": top1(90, 92)}
    with pytest.raises(UserError, match="name a method with --baseline; known: ours, plain"):
        only(tmp_path / "c", values, "top1", told=bare)


def test_one_seed_for_all_is_refused_and_one_seed_for_some_is_told(tmp_path: Path) -> None:
    values = {"plain": top1(90), "ours": top1(91)}
    with pytest.raises(UserError, match="no method has two seeds in common with plain"):
        only(tmp_path / "a", values, "top1")
    values = {"plain": top1(90, 92), "ours": top1(91, 92), "new": top1(91, None)}
    verdicts = [each.verdict.word for each in compared(tmp_path / "b", values, metrics=["top1"])]
    assert verdicts == ["no difference shown", "no interval"]


def test_a_lone_method_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is nothing to compare with plain"):
        only(tmp_path, {"plain": top1(90, 92)}, "top1")


def test_unknown_and_absent_metrics_are_told(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"plain": top1(90, 92), "ours": top1(91, 92)})
    with pytest.raises(UserError, match=r"unknown metric 'trian_time' .did you mean 'train_t"):
        compare_results([folder], ["trian_time"])
    with pytest.raises(UserError, match=r"no run in .* measured box_ap"):
        compare_results([folder], ["box_ap"])


def test_what_nobody_could_measure_is_a_note_with_its_reason(tmp_path: Path) -> None:
    values = {
        "plain": {"top1": seeds(90, 92), "train_time": seeds(None, None)},
        "ours": {"top1": seeds(91, 92), "train_time": seeds(None, None)},
    }
    found = compare_results([write_folder(tmp_path, values)], ["top1", "train_time"])
    assert [each.column.metric for each in found.comparisons] == ["top1"]
    assert "training time: not measured (no meter)" in notes(found)


def test_ranks_and_profile_scores_over_two_tasks_are_those_worked_out_by_hand(
    tmp_path: Path,
) -> None:
    folders = []
    for dataset, times in (("one", (10, 5, 20)), ("two", (8, 12, 40))):
        values: Values = {
            name: {"train_time": seeds(time, time)}
            for name, time in zip(("plain", "ours", "slow"), times, strict=True)
        }
        told = Conditions(dataset=dataset, data=dataset)
        folders.append(write_folder(tmp_path / dataset, values, told))
    (overview,) = compare_results(folders, ["train_time"]).overviews
    assert [name for name, _ in overview.networks] == ["plain", "ours", "slow"]
    assert overview.mean_ranks == (1.5, 1.5, 3.0)
    # Ratios to the cheapest: plain 2 and 1, ours 1 and 1.5, slow 4 and 5; (4 - ratio) / 3 each.
    assert overview.scores == pytest.approx(((2 / 3 + 1) / 2, (1 + 2.5 / 3) / 2, 0))


def test_what_a_target_took_is_compared_unasked_and_misses_are_told(tmp_path: Path) -> None:
    values = {
        "plain": {"top1": seeds(90, 92, 95), "time_to_target": seeds(10, 12, 11)},
        "ours": {"top1": seeds(91, 93, 95), "time_to_target": seeds(5, 6, None)},
    }
    (_, target) = compared(tmp_path, values)
    assert target.column.metric == "time_to_target"
    assert (target.seeds, target.reasons) == ((0, 1), ("seed 2: no meter",))
    assert target.ratio is not None
    assert target.ratio.mean == pytest.approx(0.5)
