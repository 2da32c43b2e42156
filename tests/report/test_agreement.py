"""A run beside its repetition: what must be equal, what may differ, and what the verdict says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report.made_runs import FINGERPRINT, Made

from benchmarks.analysis.agreement import (
    COUNTED,
    MEASURED,
    SEEDED,
    compare_runs,
    disagreements,
    kind_of,
)
from benchmarks.analysis.load import read_folder
from benchmarks.records.identity.origin import changes, id_holds, repeats_exactly
from benchmarks.records.row import METRICS, Measurement, Row
from benchmarks.report.card.folder import RunFolder, read_run
from benchmarks.report.repetition import AGREE, DIFFER, verdict, verdict_lines

PUBLISHED = Path(__file__).parents[2] / "results" / "published"


@pytest.fixture(scope="module")
def run() -> RunFolder:
    return read_run(PUBLISHED / "quickstart" / "digits-end_to_end-s0")


def judged(
    run: RunFolder, rows: list[Row], curve: Any = None, exactly: bool = True, points: float = 1.0
) -> dict[str, Any]:
    curve = run.curve if curve is None else curve
    compared = compare_runs((run.rows, run.curve), (rows, curve), exactly, points)
    found = verdict(compared, [], [], exactly, points)
    json.dumps(found, allow_nan=False)
    return found


def with_value(run: RunFolder, number: int, value: float) -> list[Row]:
    rows = list(run.rows)
    rows[number] = replace(
        rows[number], value=value, status="ok" if value is not None else "failed"
    )
    return rows


def test_a_run_agrees_with_itself_bit_by_bit(run: RunFolder) -> None:
    found = judged(run, list(run.rows))
    assert found["verdict"] == AGREE
    assert found["sentence"] == "The run and its repetition agree bit by bit."
    assert found[COUNTED]["equal"] == found[COUNTED]["of"] >= 5
    assert found[SEEDED]["equal"] == found[SEEDED]["of"] >= 40
    assert {group["kind"] for group in found["measured"]} == {"times", "memory", "speed"}
    assert all(group["ratio"] == pytest.approx(1) for group in found["measured"])


def test_any_number_but_a_measured_one_makes_a_difference(run: RunFolder) -> None:
    kinds = set()
    for number, row in enumerate(run.rows):
        if row.value is None:
            continue
        kinds.add(kind_of(row))
        # The smallest change that a float can have.
        found = judged(run, with_value(run, number, row.value * (1 + 2**-52) or 5e-324))
        assert found["verdict"] == (AGREE if kind_of(row) == MEASURED else DIFFER), row
        if kind_of(row) != MEASURED:
            assert row.metric in found["sentence"]
            assert "not deterministic" in found["sentence"]
    assert kinds == {COUNTED, SEEDED, MEASURED}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_missing_or_an_additional_number_makes_a_difference(data: st.DataObject) -> None:
    run = read_run(PUBLISHED / "quickstart" / "digits-end_to_end-s0")
    number = data.draw(st.integers(0, len(run.rows) - 1))
    fewer = [row for i, row in enumerate(run.rows) if i != number]
    measured = kind_of(run.rows[number]) == MEASURED
    assert judged(run, fewer)["verdict"] == (AGREE if measured else DIFFER)
    lines = verdict_lines(judged(run, fewer))
    assert measured or any("which only the run has" in line for line in lines)
    # The other way round: the run's rows were cut.
    shorter = replace(run, rows=tuple(fewer))
    assert judged(shorter, list(run.rows))["verdict"] == (AGREE if measured else DIFFER)
    # Newer code may tell more, but not less.
    assert judged(shorter, list(run.rows), exactly=False)["verdict"] == AGREE
    assert judged(run, fewer, exactly=False)["verdict"] == (AGREE if measured else DIFFER)


@pytest.mark.parametrize("column", ["top1", "train_loss", "lr", "batch", "seconds"])
def test_the_curve_counts_and_its_clock_does_not(run: RunFolder, column: str) -> None:
    curve = [dict(point) for point in run.curve]
    curve[1][column] += 1
    assert judged(run, list(run.rows), curve)["verdict"] == (
        AGREE if column == "seconds" else DIFFER
    )
    assert judged(run, list(run.rows), curve[:-1])["verdict"] == DIFFER


def test_elsewhere_shares_may_differ_by_the_tolerance_and_counts_by_nothing(run: RunFolder) -> None:
    at = {(row.metric, row.phase): i for i, row in enumerate(run.rows)}
    top = at["top1", "test"]
    value = run.rows[top].value
    assert value is not None
    near = judged(run, with_value(run, top, value - 0.9), exactly=False)
    assert near["verdict"] == AGREE
    assert "within 1 points" in near["sentence"]
    assert near["unequal"][0]["metric"] == "top1"
    far = with_value(run, top, value - 1.1)
    assert judged(run, far, exactly=False)["verdict"] == DIFFER
    assert judged(run, far, exactly=False, points=1.2)["verdict"] == AGREE
    for metric, phase in (("params", "setup"), ("macs", "inference"), ("train_flops", "setup")):
        rows = with_value(run, at[metric, phase], 12345.0)
        found = judged(run, rows, exactly=False)
        assert found["verdict"] == DIFFER
        assert found["sentence"].count(metric) == 1
    # Its loss follows from the seed too, but no tolerance is stated for nats.
    assert judged(run, with_value(run, at["nll", "test"], 9.9), exactly=False)["verdict"] == AGREE


def test_ratios_are_told_beside_the_tolerance(run: RunFolder) -> None:
    rows = [replace(r, value=r.value * 2) if r.unit == "s" and r.value else r for r in run.rows]
    found = judged(run, rows)
    times = next(group for group in found["measured"] if group["kind"] == "times")
    assert found["verdict"] == AGREE
    assert times["ratio"] == pytest.approx(2)
    assert times["within"] == 0
    text = "\n".join(verdict_lines(found))
    assert f"{times['of']} of {times['of']} differ by more than 25%" in text


def test_every_metric_of_the_project_has_a_sensible_kind(run: RunFolder) -> None:
    identity = {
        name: getattr(run.rows[0], name)
        for name in ("suite", "run_id", "task", "dataset", "arch", "method", "variant", "seed")
    }
    kinds = {
        name: kind_of(Row.of(Measurement(name, 1.0), **identity, phase="train")) for name in METRICS
    }
    for name in ("train_time", "energy_idle", "latency", "throughput", "mem_peak_resident"):
        assert kinds[name] == MEASURED, name
    for name in ("spent_seconds", "spent_joules", "time_to_target", "mem_rest", "energy_image"):
        assert kinds[name] == MEASURED, name
    for name in ("top1", "nll", "box_ap", "miou", "batches", "macs_executed", "mem_activations"):
        assert kinds[name] == SEEDED, name
    assert {n for n, k in kinds.items() if k == COUNTED} == {
        *("params", "params_trainable", "params_inference", "weights_bytes"),
        *("macs", "macs_per_pass", "macs_backbone", "train_flops"),
    }
    steps = Row.of(Measurement("batches", 1.0), **identity, phase="train")
    assert kind_of(steps) == SEEDED
    assert kind_of(steps, watched=True) == MEASURED
    flops = Row.of(Measurement("train_flops", 1.0), **{**identity, "task": "detection"}, phase="s")
    assert kind_of(flops) == SEEDED


def test_doubts_about_the_files_make_it_differ(run: RunFolder) -> None:
    compared = compare_runs((run.rows, run.curve), (run.rows, run.curve), True, 1.0)
    found = verdict(compared, [], ["the rows were changed"], True, 1.0)
    assert found["verdict"] == DIFFER
    assert "the rows were changed" in found["sentence"]


def test_changes_name_what_differs() -> None:
    assert changes(FINGERPRINT, json.loads(json.dumps(FINGERPRINT))) == []
    now = json.loads(json.dumps(FINGERPRINT))
    now["code"]["tasks"] = now["data"]["sha256"] = "other"
    now["versions"] |= {"torch": "3.0", "mmdet": "3.3.0"}
    now |= {"device": "AMD EPYC", "threads": 2}
    assert [(change.kind, str(change)) for change in changes(FINGERPRINT, now)] == [
        ("code", "the code of the tasks changed"),
        ("data", "sha256 of the data changed"),
        ("versions", "torch 2.14.1 -> 3.0"),
        ("versions", "mmdet not recorded -> 3.3.0"),
        ("device", "device NVIDIA H200 -> AMD EPYC"),
        ("device", "threads 1 -> 2"),
    ]
    assert changes({}, now)


def test_an_id_vouches_for_spec_and_fingerprint(tmp_path: Path) -> None:
    manifest = json.loads((Made().write(tmp_path) / "manifest.json").read_text())
    assert id_holds(manifest) is True
    # What only names things may change.
    manifest["spec"] |= {"label": "another", "suite": "other"}
    assert id_holds(manifest) is True
    for section, key, value in (("spec", "seed", 1), ("fingerprint", "device", "another")):
        changed = {**manifest, section: {**manifest[section], key: value}}
        assert id_holds(changed) is False
    assert id_holds({**manifest, "spec": {**manifest["spec"], "unknown": 1}}) is False
    assert id_holds({"run_id": "short"}) is None
    # A method file is hashed by its content, which may have changed since, or be gone.
    absent = {**manifest["spec"], "method_file": str(tmp_path / "absent.py")}
    assert id_holds({**manifest, "spec": absent}) is None


def test_only_a_cpu_and_a_counted_budget_repeat_bit_by_bit() -> None:
    cpu: dict[str, Any] = {"device": {"type": "cpu"}, "spec": {"budget": {"epochs": 1}}}
    assert repeats_exactly(cpu)
    assert repeats_exactly({**cpu, "spec": {"budget": {"train_flops": 1e9}}})
    assert not repeats_exactly({**cpu, "spec": {"budget": {"epochs": 1, "seconds": 9}}})
    assert not repeats_exactly({**cpu, "device": {"type": "cuda"}})
    assert not repeats_exactly({})


def test_published_runs_of_other_seeds_do_not_agree() -> None:
    runs = [r for r in read_folder(PUBLISHED / "quickstart").runs if r.method == "end_to_end"]
    assert len(runs) == 3
    compared = compare_runs((runs[0].rows, []), (runs[1].rows, []), True, 1.0)
    assert len(disagreements(compared)) > 5
    assert all(each.equal for each in compared if each.kind == COUNTED)
