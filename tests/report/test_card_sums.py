"""Sums of a run's costs: they hold where nothing is wrong, and tell by how much they miss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report.made_runs import CURVE, MIB, Made

from benchmarks.report.card.document import explanation
from benchmarks.report.card.folder import read_run
from benchmarks.report.card.sums import HOLDS, MISSES, UNKNOWN, add_up
from benchmarks.report.card.text import explain_text

SUMS = ("time", "energy", "memory")


def explained(made: Made, results: Path) -> dict[str, Any]:
    return explanation(read_run(made.write(results)))


def missing(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    sums = [balance for kind in SUMS for balance in document[kind]]
    return {each["title"]: each for each in sums if each["verdict"] == MISSES}


def test_a_run_whose_sums_hold_has_nothing_to_warn_of(tmp_path: Path) -> None:
    document = explained(Made(), tmp_path)
    for kind in SUMS:
        assert document[kind]
        assert all(balance["verdict"] == HOLDS for balance in document[kind]), kind
    assert document["warnings"] == []
    assert "MISSES" not in explain_text(document, 80)
    windows = document["time"][0]
    assert (windows["sum"], windows["whole"]) == (120.0, 120.0)
    # Data is inside training: were it a part of its own the sum would be 124 s.
    assert [part["value"] for part in windows["parts"]] == [3.0, 100.0, 12.0, 5.0]
    process = next(each for each in document["time"] if each["title"] == "the process")
    assert process["parts"][-1]["value"] == pytest.approx(30.0)


SPOILT = {
    # What is changed -> the sum that must miss, by how much the parts fall short of the whole.
    "phase train": ({"eval_time": 10.0}, 2.0),
    "inside training of phase train": ({"data_time": 101.0}, -1.0),
    "the curve's clock": ({"train_time": 90.0, "total_time": 110.0}, -9.5),
    "the process": ({"eval_time": 92.0, "total_time": 200.0}, -50.0),
    "all windows, by the counter": ({"energy_gpu_counter": 25000.0}, -5105.0),
    "idle draw inside the whole": ({"energy_idle": 30000.0}, -9200.0),
    "the curve's joules": (
        {"energy_gpu_counter": 19700.0, "energy_gpu_integrated": 19600.0},
        -200.0,
    ),
    "one training step beside the peak of training": (
        {"mem_peak_allocated": 1190 * MIB},
        210 * MIB,
    ),
    "inside mem_peak_reserved": ({"mem_peak_reserved": 990 * MIB}, -10 * MIB),
    "inside mem_peak_process": ({"mem_peak_process": 1000 * MIB}, -200 * MIB),
}


@pytest.mark.parametrize("title", SPOILT)
def test_a_spoilt_sum_is_told_with_its_amount_and_a_possible_cause(
    title: str, tmp_path: Path
) -> None:
    changes, short = SPOILT[title]
    made = Made()
    made.training |= changes
    document = explained(made, tmp_path)
    found = missing(document)
    assert list(found) == [title]
    assert found[title]["missing"] == pytest.approx(short)
    assert len(found[title]["why"]) > 20
    assert [text for text in document["warnings"] if text.startswith(f"{title}: ")]
    text = explain_text(document, 200)
    assert "MISSES: the sum is " in text
    assert ("short of" if short > 0 else "more than") in text


def test_a_phase_of_one_step_has_no_training_and_adds_its_wait_for_data(tmp_path: Path) -> None:
    made = Made(curve=None, manifest={"phases": [{"name": "train", "batches": 1}]})
    made.training |= {"train_time": None, "batches": 1.0, "data_time": 4.0, "total_time": 24.0}
    document = explained(made, tmp_path)
    assert not [title for title in missing(document) if title.startswith(("phase", "the "))]
    assert [part["value"] for part in document["time"][0]["parts"]] == [3.0, None, 12.0, 5.0, 4.0]
    assert "training: not measured (told by the test)" in explain_text(document, 80)


def test_one_meter_alone_is_shown_and_not_called_checked(tmp_path: Path) -> None:
    made = Made()
    made.training |= {key: None for key in made.training if "energy_gpu_integrated" in key}
    document = explained(made, tmp_path)
    sums = document["energy"][0]
    assert sums["verdict"] == UNKNOWN
    assert sums["sum"] == 22000.0
    assert "not checked: there is one measure alone" in explain_text(document, 200)


def test_windows_that_were_too_short_are_left_out_and_say_why(tmp_path: Path) -> None:
    made = Made()
    made.training |= {key: None for key in made.training if "@evaluate" in key}
    document = explained(made, tmp_path)
    assert document["energy"][0]["verdict"] == HOLDS
    assert document["energy"][0]["sum"] == 20500.0
    assert "evaluation: not measured (told by the test)" in explain_text(document, 200)


def test_a_killed_process_tells_no_length_and_the_sum_over_processes_is_open(
    tmp_path: Path,
) -> None:
    first = {"started": "2026-01-01T00:00:00+00:00", "ended": "interrupted", "pid": 1}
    second = {"started": "2026-01-01T01:00:00+00:00", "ended": "x", "seconds": 60.0}
    document = explained(Made(manifest={"segments": [first, second]}), tmp_path)
    processes = document["time"][-1]
    assert processes["verdict"] == UNKNOWN
    assert [s["interrupted"] for s in document["segments"]] == [True, False]
    assert [s["resumed"] for s in document["segments"]] == [False, True]
    text = explain_text(document, 200)
    assert "1: began 2026-01-01 00:00:00 UTC, was interrupted" in text
    assert "2: resumed 2026-01-01 01:00:00 UTC" in text


def test_curve_manifest_and_rows_must_tell_the_same_batches(tmp_path: Path) -> None:
    cut = "".join(CURVE.splitlines(keepends=True)[:2])
    made = Made(curve=cut)
    made.training["batches"] = 99.0
    warned = " ".join(explained(made, tmp_path)["warnings"])
    assert "100 batches in the manifest, 99 in rows" in warned
    assert "ends at batch 50 of 100" in warned


def test_what_the_gpu_noted_is_a_warning(tmp_path: Path) -> None:
    gpu = {
        "notes": ["the device was shared with other processes"],
        "throttle_reasons": ["power cap"],
    }
    made = Made(manifest={"meters": {"gpu": gpu}})
    made.training["mem_alloc_retries"] = 3.0
    document = explained(made, tmp_path)
    warned = "\n".join(document["warnings"])
    assert "shared with other processes" in warned
    assert "throttled: power cap" in warned
    assert "tried again 3 times" in warned
    assert not document["repeat"]["bit_by_bit"]


def test_a_manifest_that_was_changed_does_not_fit_its_id(tmp_path: Path) -> None:
    changed = {**Made().manifest, "spec": {"suite": "made", "task": "classification"}}
    document = explained(Made(manifest=changed), tmp_path)
    assert document["id_holds"] is False
    assert any("manifest was changed" in text for text in document["warnings"])


amounts = st.floats(0, 1e6, allow_nan=False)


@given(st.lists(amounts, min_size=1, max_size=6), amounts, st.floats(0, 100))
@settings(max_examples=200, deadline=None)
def test_a_sum_holds_exactly_where_the_parts_are_within_the_tolerance(
    values: list[float], whole: float, tolerance: float
) -> None:
    parts = [("part", value, "") for value in values]
    equal = add_up("t", parts, ("w", whole), tolerance, "missed", why="rounding")
    assert (equal["verdict"] == HOLDS) == (abs(whole - sum(values)) <= tolerance)
    assert equal["why"] == ("rounding" if equal["verdict"] == HOLDS else "missed")
    assert equal["missing"] == whole - sum(values)
    within = add_up("t", parts, ("w", whole), tolerance, "over", rest="rest")
    assert (within["verdict"] == HOLDS) == (sum(values) - whole <= tolerance)
    if within["verdict"] == HOLDS:
        # What fills up the whole is a part of its own, and never below zero.
        assert within["parts"][-1]["name"] == "rest"
        assert within["parts"][-1]["value"] >= 0
        assert within["sum"] == pytest.approx(max(whole, sum(values)))
    unknown = add_up("t", parts, ("w", None), tolerance, "missed", why="no meter")
    assert (unknown["verdict"], unknown["why"], unknown["missing"]) == (UNKNOWN, "no meter", None)
