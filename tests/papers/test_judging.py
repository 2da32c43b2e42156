"""Verdicts on made-up rows: what may be compared, what may not, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from benchmarks.analysis.statistics.equivalence import CONTRADICTED, REPRODUCED, UNDERPOWERED
from benchmarks.budget import Budget
from benchmarks.launch.suite_run import Job
from benchmarks.papers.cautions import INCONSISTENT, NOT_COMPARABLE, NOT_RUN
from benchmarks.papers.claims import Claim, read_claims
from benchmarks.papers.judging import TOLERANCES, Finding, judge_item, judge_items, tolerance_of
from benchmarks.papers.planning import Item
from benchmarks.papers.routes import Counted, Excluded, Measure, Trained
from benchmarks.papers.verdicts import Checked
from benchmarks.records.row import FAILED, OK, UNAVAILABLE, Row
from benchmarks.spec import RunSpec

SPEC = RunSpec(
    suite="reproduce-odn-paper", profile="paper", task="classification", task_options={},
    method="optimal_depth", method_options={"target_accuracy": 99.5}, seed=0,
    budget=Budget.parse({"epochs": 1}),
)  # fmt: skip


def claim(**changes: Any) -> Claim:
    found = Claim(
        "odn", "I", "classification", "MNIST", "resnet18-cifar", "optimal_depth", "depth=2/8",
        "top1", Decimal("99.31"), None, "%", "", "",
    )  # fmt: skip
    return replace(found, **changes)


def row(run_id: str, value: float | None, **changes: Any) -> Row:
    made = Row(
        "s", run_id, "classification", "mnist", "a", "m", "full", 0, "test", "top1", value, "%",
        OK if value is not None else UNAVAILABLE, "" if value is not None else "no meter",
    )  # fmt: skip
    return replace(made, **changes)


TOP1 = Measure("top1")


def item(of: Claim, seeds: int = 3, measure: Measure | str = TOP1, **route: Any) -> Item:
    jobs = tuple(
        Job({"run_id": f"r{seed}", "label": "m", "headline": "top1", "spec": {"seed": seed}})
        for seed in range(seeds)
    )
    return Item(of, Trained(SPEC, measure, **route), jobs)


def judged(values: Sequence[float], of: Claim | None = None, **route: Any) -> Finding:
    rows = {f"r{seed}": [row(f"r{seed}", value)] for seed, value in enumerate(values)}
    return judge_item(item(of or claim(), len(values), **route), rows)


def test_seeds_close_to_the_claim_reproduce_it() -> None:
    found = judged([99.30, 99.35, 99.25], remarks=("a remark",))
    assert found.verdict == REPRODUCED
    assert (found.mean, found.n) == (pytest.approx(99.30), 3)
    assert found.std == pytest.approx(0.05)
    assert found.difference == pytest.approx(-0.01)
    assert found.tolerance == 0.5
    assert "90 % interval" in found.reason
    assert "a remark" in found.reason
    assert found.runs == ("r0", "r1", "r2")


def test_seeds_far_from_the_claim_contradict_it() -> None:
    found = judged([97.1, 97.2, 97.0])
    assert found.verdict == CONTRADICTED
    assert "95 % interval" in found.reason


def test_seeds_that_decide_nothing_say_how_many_more_would() -> None:
    found = judged([99.0, 99.9, 99.1])
    assert found.verdict == UNDERPOWERED
    assert found.more_seeds
    assert f"{found.more_seeds} more seeds would decide" in found.reason
    on_the_edge = judged([98.81, 99.81, 97.81])
    assert on_the_edge.more_seeds is None
    assert "no reasonable number of seeds" in on_the_edge.reason


@pytest.mark.parametrize("values", [[99.31, 99.31, 99.31], [50.0, 50.1, 49.9]])
def test_what_a_smaller_profile_measures_is_never_a_verdict_on_the_claim(
    values: list[float],
) -> None:
    changed = "the short profile has budget 100 samples (paper: 160 epochs)"
    found = judged(values, changes=(changed,), remarks=("of the paper profile",))
    assert found.verdict == NOT_COMPARABLE
    assert found.reason == changed
    assert found.mean == pytest.approx(sum(values) / 3)
    assert found.difference == pytest.approx(sum(values) / 3 - 99.31)
    assert found.tolerance is None


def test_a_claim_of_other_hardware_is_not_comparable_even_if_it_fits() -> None:
    slow = claim(metric="latency", value=Decimal("43.2"), unit="ms/batch", hardware="RTX 3090")
    rows = {"r0": [row("r0", 0.0432, metric="latency@64", phase="inference", unit="s")]}
    found = judge_item(item(slow, 1, Measure("latency@64", "full", "inference", 1e3)), rows)
    assert found.verdict == NOT_COMPARABLE
    assert found.reason == "measured on RTX 3090"
    assert found.mean == pytest.approx(43.2)


def test_a_reduction_is_taken_between_two_variants_of_one_run() -> None:
    saved = claim(metric="latency_reduction", value=Decimal("35"))
    rows = {
        "r0": [
            row("r0", 0.010, metric="latency@1", phase="inference", variant="super"),
            row("r0", 0.006, metric="latency@1", phase="inference", variant="base"),
        ]
    }
    measure = Measure("latency@1", "base", "inference", below="super")
    assert judge_item(item(saved, 1, measure), rows).mean == pytest.approx(40.0)
    alone = {"r0": rows["r0"][1:]}
    missing = judge_item(item(saved, 1, measure), alone)
    assert missing.mean is None
    assert "latency@1 was not measured" in missing.reason


def test_figures_that_exclude_each_other_stay_so_whatever_is_measured() -> None:
    (mind,) = [
        each for each in read_claims(["mind"])
        if (each.table, each.dataset, each.method, each.metric) == ("2", "CIFAR-100", "mind",
                                                                    "top1")
    ]  # fmt: skip
    found = judged([85.53, 85.53, 85.53], mind)
    assert found.verdict == INCONSISTENT
    assert "88.0 (table 11)" in found.reason
    assert found.mean == pytest.approx(85.53)


def test_failed_and_missing_seeds_are_told_and_left_out() -> None:
    rows = {
        "r0": [row("r0", 99.3)],
        "r1": [row("r1", None, status=FAILED, reason="out of memory")],
        "r2": [row("r2", 99.4)],
    }
    found = judge_item(item(claim()), rows)
    assert (found.n, found.verdict) == (2, REPRODUCED)
    assert "the run failed: out of memory (seed 1)" in found.reason
    none = judge_item(item(claim()), {})
    assert (none.verdict, none.mean, none.reason) == (NOT_RUN, None, "not run yet")
    unavailable = judge_item(item(claim(), 1), {"r0": [row("r0", None)]})
    assert (unavailable.verdict, unavailable.reason) == (NOT_RUN, "no meter")


def test_a_run_that_cannot_be_says_why() -> None:
    absent = replace(item(claim(), 0), missing="EMNIST is absent")
    found = judge_item(absent, {})
    assert (found.verdict, found.reason, found.mean) == (NOT_RUN, "EMNIST is absent", None)
    unmeasured = judge_item(item(claim(metric="top5"), 0, "not by difficulty"), {})
    assert (unmeasured.verdict, unmeasured.reason) == (NOT_RUN, "not by difficulty")
    left_out = judge_item(Item(claim(), Excluded(NOT_COMPARABLE, "no recipe")), {})
    assert (left_out.verdict, left_out.reason) == (NOT_COMPARABLE, "no recipe")


def test_exact_figures_keep_the_verdict_of_verify() -> None:
    exact = claim(metric="params", value=Decimal("0.15"), unit="M")
    checked = Checked(exact, CONTRADICTED, "why", 0.2, "fvcore", 0.3)
    found = judge_item(Item(exact, Counted(), checked=checked), {})
    assert (found.verdict, found.mean, found.n, found.std) == (CONTRADICTED, 0.2, 0, None)
    assert found.reason == "why; by the counting fvcore"


def search(found: int, test: float, best: float, run_id: str = "r0") -> list[Row]:
    return [
        row(run_id, value, variant=f"depth={depth}/18", phase=phase)
        for depth in range(1, found + 1)
        for phase, value in (("test_best", test - found + depth), ("val_best", best))
    ]


DEEPEST = Measure("top1", "depth=2/18", "test_best", deepest=True)


def test_a_search_is_judged_by_what_it_found() -> None:
    rows = {f"r{s}": search(2, 99.30 + s / 100, 99.2, f"r{s}") for s in range(3)}
    found = judge_item(item(claim(variant="depth=2/18"), 3, DEEPEST), rows)
    assert (found.verdict, found.mean) == (REPRODUCED, pytest.approx(99.31))


def test_a_search_that_found_another_depth_answers_another_question() -> None:
    rows = {
        "r0": search(2, 99.3, 99.2),
        "r1": search(10, 99.3, 99.2, "r1"),  # deeper than depth=2, though it sorts before it
    }
    found = judge_item(item(claim(variant="depth=2/18"), 2, DEEPEST), rows)
    assert found.verdict == NOT_COMPARABLE
    assert "ended at depth=10/18, the claim is of depth=2/18 (seed 1)" in found.reason
    assert found.mean == pytest.approx(99.3)


MISSED = "the search ended before a depth met the target of 99.00 %"


def test_a_search_that_its_budget_ended_is_not_compared() -> None:
    missed = [replace(each, reason=f"remark: {MISSED}") for each in search(2, 99.31, 99.2)]
    rows = {"r0": missed, "r1": search(2, 99.31, 99.2, "r1")}
    found = judge_item(item(claim(variant="depth=2/18"), 2, DEEPEST), rows)
    assert found.verdict == NOT_COMPARABLE
    assert f"{MISSED} (seed 0)" in found.reason


def test_a_search_that_met_its_target_as_it_is_rounded_is_compared() -> None:
    """99.5 at a tolerance of 0.5 is met by 98.96, which counts as 99.0."""
    rows = {f"r{s}": search(2, 99.30 + s / 100, 98.96, f"r{s}") for s in range(3)}
    found = judge_item(item(claim(variant="depth=2/18"), 3, DEEPEST), rows)
    assert found.verdict == REPRODUCED


def test_a_network_whose_training_the_budget_ended_is_not_compared() -> None:
    cut = [replace(each, variant=f"{each.variant} (cut)") for each in search(2, 99.31, 99.2)]
    found = judge_item(item(claim(variant="depth=2/18"), 1, DEEPEST), {"r0": cut})
    assert found.verdict == NOT_COMPARABLE
    assert "ended at depth=2/18 (cut), the claim is of depth=2/18" in found.reason


def test_a_depth_trained_alone_is_compared_though_it_cannot_meet_its_target() -> None:
    rows = {
        f"r{s}": [
            replace(each, reason=f"remark: {MISSED}")
            for each in search(2, 99.30 + s / 100, 99.2, f"r{s}")
        ]
        for s in range(3)
    }
    alone = item(claim(variant="depth=2/18"), 3, DEEPEST)
    spec = replace(SPEC, method_options={"target_accuracy": 100, "min_depth": 2})
    alone = replace(alone, route=replace(alone.route, spec=spec))
    assert judge_item(alone, rows).verdict == REPRODUCED


def test_training_times_stand_beside_their_ratio_to_the_plain_network() -> None:
    def timed(method: str, variant: str, minutes: str, name: str) -> Item:
        of = claim(
            metric="train_time", method=method, variant=variant, value=Decimal(minutes),
            hardware="RTX 4090",
        )  # fmt: skip
        job = Job({"run_id": name, "label": "m", "headline": "top1", "spec": {"seed": 0}})
        return Item(of, Trained(SPEC, Measure("epoch_time", "", "train", 1 / 60)), (job,))

    def seconds(name: str, value: float) -> list[Row]:
        return [row(name, value, variant="", phase="train", metric="epoch_time", unit="s")]

    items = [
        timed("end_to_end", "full", "32.9", "plain"),
        timed("adaptive_depth", "2^4 sub-networks", "54.7", "adn"),
    ]
    plain, adn = judge_items(items, {"plain": seconds("plain", 60), "adn": seconds("adn", 96)})
    assert (plain.mean, adn.mean) == (pytest.approx(1.0), pytest.approx(1.6))
    assert adn.reason.startswith("ratio to the plain network 1.60 (paper: 1.66); measured on RTX")
    assert "ratio" not in plain.reason


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0.5),
        ({"spread": Decimal("0.1")}, 0.5),
        ({"spread": Decimal("0.28")}, 0.56),
        ({"metric": "nll", "value": Decimal("0.702")}, 0.02),
        ({"value": Decimal("99")}, 0.5),
    ],
)
def test_the_tolerance_is_the_metrics_or_twice_the_claims_own_spread(
    changes: Mapping[str, Any], expected: float
) -> None:
    assert tolerance_of(claim(**changes)) == pytest.approx(expected)


def test_every_metric_that_can_get_a_verdict_has_a_tolerance() -> None:
    from benchmarks.papers.claims import TRAINED

    assert set(TOLERANCES) == set(TRAINED) - {"ppl"}  # language models are none of the tasks
