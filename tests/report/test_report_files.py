"""The files of a report: numbers worked out by hand, and the same bytes each time."""

from __future__ import annotations

import csv
import io
import math
import re
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from report.made_results import Made, make
from scipy import stats

from benchmarks.records.store import PlannedRun, read_rows
from benchmarks.report.build import FORMATS, write_report
from tasks.errors import UserError


def values(folder: Path, method: str, variant: str, metric: str, phase: str) -> list[float]:
    """The values of all seeds, straight from the rows."""
    return [
        row.value
        for row in read_rows(folder / "rows.csv")
        if (row.method, row.variant, row.metric, row.phase) == (method, variant, metric, phase)
        and row.value is not None
    ]


def tidy(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((out / "report.csv").read_text())))


def line(out: Path, **told: str) -> dict[str, str]:
    (found,) = [r for r in tidy(out) if all(r[key] == value for key, value in told.items())]
    return found


def all_bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_csv_holds_means_deviations_and_intervals(tmp_path: Path) -> None:
    make(tmp_path / "r")
    write_report([tmp_path / "r"], tmp_path / "out", ["csv"])
    measured = values(tmp_path / "r", "ours", "base", "top1", "test")
    found = line(tmp_path / "out", method="ours", variant="base", metric="top1", phase="test")
    assert float(found["mean"]) == pytest.approx(statistics.fmean(measured))
    assert float(found["sd"]) == pytest.approx(statistics.stdev(measured))
    low, high = stats.t.interval(
        0.95, 2, statistics.fmean(measured), statistics.stdev(measured) / math.sqrt(3)
    )
    assert float(found["ci95_low"]) == pytest.approx(low)
    assert float(found["ci95_high"]) == pytest.approx(high)
    assert (found["n"], found["seeds"], found["unit"]) == ("3", "0 1 2", "%")
    assert (float(found["min"]), float(found["max"])) == (min(measured), max(measured))
    assert found["suite"] == "mine"
    assert found["budget"] == "4 epochs"
    assert found["device"] == "Some CPU"


def test_csv_holds_ratios_to_the_baseline(tmp_path: Path) -> None:
    make(tmp_path / "r")
    write_report([tmp_path / "r"], tmp_path / "out", ["csv"])
    mine, base = (values(tmp_path / "r", m, "", "train_time", "train") for m in ("ours", "plain"))
    expected = math.prod(a / b for a, b in zip(mine, base, strict=True)) ** (1 / 3)
    for variant in ("super", "base"):
        found = line(tmp_path / "out", method="ours", variant=variant, metric="train_time")
        assert float(found["ratio"]) == pytest.approx(expected)
        assert found["baseline"] == "plain"


def test_csv_says_why_a_value_is_missing(tmp_path: Path) -> None:
    make(tmp_path / "r", Made(fail=frozenset({("ours", 1)})))
    write_report([tmp_path / "r"], tmp_path / "out", ["csv"])
    found = line(tmp_path / "out", method="plain", metric="energy_cpu_package")
    assert (found["n"], found["mean"], found["missing"]) == ("0", "", "RAPL needs root")
    found = line(tmp_path / "out", method="ours", variant="base", metric="top1", phase="test")
    assert (found["n"], found["seeds"]) == ("2", "0 2")
    assert "failed" in found["missing"]


def test_markdown_and_latex_show_the_same_numbers(tmp_path: Path) -> None:
    make(tmp_path / "r")
    write_report([tmp_path / "r"], tmp_path / "out", ["md", "latex"], ["top1", "macs"], 0)
    measured = values(tmp_path / "r", "plain", "full", "top1", "test")
    shown = f"{statistics.fmean(measured):.2f}", f"{statistics.stdev(measured):.2f}"
    assert f"{shown[0]} ± {shown[1]}" in (tmp_path / "out/report.md").read_text()
    latex = (tmp_path / "out/report.tex").read_text()
    assert rf"{shown[0]} $\pm$ {shown[1]}" in latex
    assert r"\begin{tabular}{llrrr}" in latex
    assert r"\label{tab:depthbench}" in latex
    assert r"\textbf{20.00 (0.50$\times$)}" in latex
    assert "paired t test" in latex


def test_each_suite_has_a_table_of_its_own(tmp_path: Path) -> None:
    make(tmp_path / "a")
    make(tmp_path / "b", Made(suite="other", salt="-b", methods={"else": {"full": 1.0}}))
    write_report([tmp_path / "a", tmp_path / "b"], tmp_path / "out", ["md", "latex", "csv"], (), 0)
    text = (tmp_path / "out/report.md").read_text()
    assert text.count("Suite mine;") == text.count("Suite other;") == 1
    assert "ratio to plain" in text
    assert "ratio to else" in text
    latex = (tmp_path / "out/report.tex").read_text()
    assert r"\label{tab:depthbench-1}" in latex
    assert r"\label{tab:depthbench-2}" in latex
    assert {r["suite"] for r in tidy(tmp_path / "out")} == {"mine", "other"}


def test_runs_that_are_not_finished_are_told(tmp_path: Path) -> None:
    store = make(tmp_path / "r")
    plan = store.plan()
    assert plan is not None
    store.write_plan(replace(plan, runs=(PlannedRun("x", "x", 0), *plan.runs)))
    write_report([tmp_path / "r"], tmp_path / "out", ["md"], most_figures=0)
    assert "1 planned run is not finished." in (tmp_path / "out/report.md").read_text()


def test_only_what_is_asked_for_is_written(tmp_path: Path) -> None:
    make(tmp_path / "r")
    assert FORMATS == ("md", "latex", "csv", "html")
    done = write_report([tmp_path / "r"], tmp_path / "csv", ["csv"])
    assert done.files == [tmp_path / "csv/report.csv"]
    assert all_bytes(tmp_path / "csv").keys() == {"report.csv"}
    write_report([tmp_path / "r"], tmp_path / "latex", ["latex"], most_figures=1)
    assert {Path(name).suffix for name in all_bytes(tmp_path / "latex")} == {".tex", ".pdf"}
    write_report([tmp_path / "r"], tmp_path / "html", ["html"], most_figures=1)
    assert all_bytes(tmp_path / "html").keys() == {"report.html"}


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    make(tmp_path / "r")
    for name in ("one", "two"):
        write_report([tmp_path / "r"], tmp_path / name, most_figures=2)
    one, two = all_bytes(tmp_path / "one"), all_bytes(tmp_path / "two")
    assert one.keys() == two.keys()
    assert len(one) == 4 + 2 * 2
    for name, content in one.items():
        assert content == two[name], name
        assert not re.search(rb"20\d\d-\d\d-\d\d|CreationDate", content), name


def test_the_readers_own_matplotlib_settings_change_nothing(tmp_path: Path) -> None:
    import matplotlib as mpl

    make(tmp_path / "r")
    write_report([tmp_path / "r"], tmp_path / "one", most_figures=1)
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "svg.fonttype": "path"}):
        write_report([tmp_path / "r"], tmp_path / "two", most_figures=1)
        assert mpl.rcParams["font.size"] == 20
    assert all_bytes(tmp_path / "one") == all_bytes(tmp_path / "two")


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    make(tmp_path / "r")
    for told, sentence in (
        ({"metrics": ["top-1"]}, "unknown metric 'top-1' (did you mean 'top1'?)"),
        ({"formats": ["pdf"]}, "unknown format 'pdf'"),
        ({"out": tmp_path / "r/rows.csv"}, "is a file: name a folder for the report"),
    ):
        arguments = {"out": tmp_path / "out", **told}
        with pytest.raises(UserError) as error:
            write_report([tmp_path / "r"], **arguments)
        assert sentence in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_suite_without_a_finished_run_is_told(tmp_path: Path) -> None:
    make(tmp_path / "none", Made(methods={}, suite="later"))
    with pytest.raises(UserError, match="has finished yet"):
        write_report([tmp_path / "none"], tmp_path / "out")
    make(tmp_path / "r")
    done = write_report([tmp_path / "none", tmp_path / "r"], tmp_path / "out", ["csv"])
    assert done.left_out == ["Nothing of later: no run of it has finished yet."]
