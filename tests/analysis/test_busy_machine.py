"""Values measured while others held the cores: shown, marked, and no ground for a verdict."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from compare_helpers import Conditions, Values, seeds, write_folder
from typer.testing import CliRunner

from benchmarks.analysis.compare.comparing import compare_results
from benchmarks.analysis.compare.conditions import parse_allowed
from benchmarks.analysis.compare.gate import columns_judged, judge
from benchmarks.analysis.compare.reference import read_reference, summarise_folders, write_reference
from benchmarks.cli import app
from benchmarks.records.row import BUSY
from benchmarks.report.build import write_report
from benchmarks.report.comparison import document, notes
from benchmarks.report.gate import fails
from benchmarks.report.tables import write_tables

QUIET = Conditions()
LOUD = Conditions(busy=frozenset({("ours", 1)}))
LOUD_BASE = Conditions(busy=frozenset({("plain", 0), ("plain", 2)}))
VALUES: Values = {
    "plain": {"top1": seeds(90, 92, 95), "train_time": seeds(4.0, 4.1, 4.2)},
    "ours": {"top1": seeds(93, 95.1, 97.9), "train_time": seeds(32.0, 41.0, 23.0)},
}


def compared(folder: Path, told: Conditions, *allowed: str) -> dict[str, dict[str, Any]]:
    found = compare_results([write_folder(folder, VALUES, told)], allowed=parse_allowed(allowed))
    return {each["metric"]: each for each in document(found)["comparisons"]}


@pytest.mark.parametrize(("told", "busy"), [(LOUD, [1]), (LOUD_BASE, [0, 2])])
def test_times_of_a_busy_machine_get_no_verdict(
    tmp_path: Path, told: Conditions, busy: list[int]
) -> None:
    found = compared(tmp_path, told)
    time = found["train_time"]
    assert (time["verdict"], time["p"], time["busy"]) == ("not judged", None, busy)
    assert "--allow busy" in time["reason"]
    assert (time["mean"], time["n"]) == (32.0, 3)
    assert time["ratio"] is not None
    # What no clock decides is judged as ever.
    assert (found["top1"]["verdict"], found["top1"]["busy"]) == ("better", [])


def test_they_do_on_a_quiet_one_or_where_that_is_allowed(tmp_path: Path) -> None:
    assert compared(tmp_path / "quiet", QUIET)["train_time"]["verdict"] == "worse"
    found = compared(tmp_path / "loud", LOUD, "busy")["train_time"]
    assert (found["verdict"], found["busy"]) == ("worse", [1])
    assert f"measured on a {BUSY} (seed 1)" in found["reason"]


def test_the_text_shows_the_value_and_why_it_is_not_judged(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, VALUES, LOUD)
    done = CliRunner().invoke(app, ["compare", str(folder)])
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("training time")]
    assert "7.595×" in line
    assert line.rstrip().endswith("not judged [1]")
    assert f"[1] measured on a {BUSY} (seed 1): run again, or --allow busy" in done.stdout


def test_times_of_a_busy_machine_are_not_ranked_over_tasks(tmp_path: Path) -> None:
    folders = [
        write_folder(tmp_path / name, VALUES, Conditions(dataset=name, busy=busy))
        for name, busy in (("digits", LOUD.busy), ("mnist", frozenset()))
    ]
    found = compare_results(folders)
    assert [c.metric for o in found.overviews for c in o.columns] == ["top1"]
    assert f"training time: not ranked, measured on a {BUSY}" in notes(found)
    allowed = compare_results(folders, allowed={"busy"})
    assert [c.metric for o in allowed.overviews for c in o.columns] == ["top1", "train_time"]


SLOWER: Values = {**VALUES, "plain": {**VALUES["plain"], "train_time": seeds(8.0, 8.1, 8.2)}}


@pytest.mark.parametrize(("before", "after"), [(QUIET, LOUD_BASE), (LOUD_BASE, QUIET)])
def test_the_gate_does_not_judge_by_a_busy_machine(
    tmp_path: Path, before: Conditions, after: Conditions
) -> None:
    file = tmp_path / "main.csv"
    write_reference(file, summarise_folders([write_folder(tmp_path / "a", VALUES, before)]))
    reference = read_reference(file)
    found = summarise_folders([write_folder(tmp_path / "b", SLOWER, after)])
    checks = judge(reference, found, columns_judged((), reference, found))
    (time,) = [c for c in checks if c.key.method == "plain" and c.key.metric == "train_time"]
    assert time.word == "not judged"
    assert f"{BUSY} (seed 0): threads waited 3 s in 9 s" in time.reason
    assert not fails(checks, strict=False)
    assert fails(checks, strict=True)


def test_on_quiet_machines_the_same_change_fails_the_gate(tmp_path: Path) -> None:
    reference = summarise_folders([write_folder(tmp_path / "a", VALUES)])
    found = summarise_folders([write_folder(tmp_path / "b", SLOWER)])
    assert fails(judge(reference, found, columns_judged((), reference, found)), strict=False)


def test_the_reference_keeps_the_values_with_the_reason(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", VALUES, LOUD_BASE)
    file = tmp_path / "main.csv"
    command = ["compare", str(folder), "--against", str(file), "--write"]
    assert f"1 of them were measured on a {BUSY}" in CliRunner().invoke(app, command).stdout
    assert json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)["busy"] == 1
    lines = list(csv.DictReader(file.open()))
    (line,) = [x for x in lines if x["method"] == "plain" and x["metric"] == "train_time"]
    assert line["values"] == "0=4.0 1=4.1 2=4.2"
    assert line["reason"].startswith(f"{BUSY} (seed 0): threads waited")
    assert f"; {BUSY} (seed 2): threads waited" in line["reason"]
    assert [x["reason"] for x in lines if x["method"] == "ours"] == ["", ""]


def test_tables_mark_the_cell_and_say_why(tmp_path: Path) -> None:
    texts = write_tables(write_folder(tmp_path, VALUES, LOUD))
    (line,) = [line for line in texts["md"].splitlines() if line.startswith("| ours")]
    assert "32.00 ± 9.00 (7.59×) [2]" in line
    assert f"[2] {BUSY} (seed 1): others held the cores" in texts["md"]
    assert "$^{2}$" in texts["latex"]
    base = write_tables(write_folder(tmp_path / "b", VALUES, LOUD_BASE))["md"]
    assert f"{BUSY} (seeds 0, 2): others held the cores" in base
    assert f"ratio to a baseline measured on a {BUSY} (seeds 0, 2)" in base
    assert BUSY not in write_tables(write_folder(tmp_path / "c", VALUES, QUIET))["md"]


def test_reports_mark_it_and_no_rival_of_it_is_bold(tmp_path: Path) -> None:
    for name, told in (("quiet", QUIET), ("loud", LOUD)):
        folder = write_folder(tmp_path / name, VALUES, told)
        write_report([folder], tmp_path / f"{name}-report", ["md", "csv", "html"], (), 0)
    quiet, loud = (
        (tmp_path / f"{name}-report/report.md").read_text() for name in ("quiet", "loud")
    )
    assert "**4.100 ± 0.100 (1.00×)**" in quiet
    assert "4.100 ± 0.100 (1.00×)" in loud
    assert "**4.100" not in loud
    lines = list(csv.DictReader((tmp_path / "loud-report/report.csv").open()))
    assert {(x["method"], x["metric"]): x["busy"] for x in lines if x["busy"]} == {
        ("ours", "train_time"): "1"
    }
    html = (tmp_path / "loud-report/report.html").read_text()
    assert html.count('<span class="busy">') == 1
    assert f'title="{BUSY} (seed 1): others held the cores' in html
