"""Which folders share a table, and what is wrong with those that cannot be read."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from report.made_results import Made, make

from benchmarks.analysis.load import load, read_folder
from benchmarks.records.store import read_rows, write_rows
from benchmarks.records.verification import seal
from tasks.errors import UserError


def refused(*paths: Path) -> str:
    with pytest.raises(UserError) as error:
        load(paths)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_is_read_whole(tmp_path: Path) -> None:
    make(tmp_path, Made(fail=frozenset({("ours", 1)})))
    (results,) = load([tmp_path])
    assert (results.name, results.profile, results.budget) == ("mine", "smoke", "4 epochs")
    assert results.baseline == "plain"
    assert results.devices == ["Some CPU"]
    assert results.rows == read_rows(tmp_path / "rows.csv")
    assert [(run.method, run.seed, run.failed) for run in results.runs] == [
        ("plain", 0, False),
        ("plain", 1, False),
        ("plain", 2, False),
        ("ours", 0, False),
        ("ours", 1, True),
        ("ours", 2, False),
    ]


def test_seeds_from_two_folders_are_pooled(tmp_path: Path) -> None:
    make(tmp_path / "a", Made(seeds=(0, 1)))
    make(tmp_path / "b", Made(seeds=(2,)))
    (results,) = load([tmp_path / "a", tmp_path / "b"])
    assert sorted({run.seed for run in results.runs}) == [0, 1, 2]
    assert len(results.runs) == 6


def test_a_copy_counts_once(tmp_path: Path) -> None:
    make(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    one = load([tmp_path / "a"])
    assert [r.rows for r in load([tmp_path / "a", tmp_path / "b"])] == [one[0].rows]
    assert [r.rows for r in load([tmp_path / "a", tmp_path / "a"])] == [one[0].rows]


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (Made(suite="another"), ["mine", "another"]),
        (Made(epochs=8), None),
        (Made(device="Other CPU"), ["mine on Some CPU", "mine on Other CPU"]),
        (Made(salt="-changed"), None),
    ],
    ids=["suite", "budget", "device", "code"],
)
def test_what_differs_is_not_mixed(tmp_path: Path, other: Made, names: list[str] | None) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    make(a)
    # The runs of another budget have other ids; the made ones do not, but for their salt.
    make(b, Made(**{**vars(other), "salt": other.salt or "-other"}))
    found = load([a, b])
    assert [r.name for r in found] == (names or [f"mine in {a}", f"mine in {b}"])


def test_two_labels_of_one_run_stay_two_methods(tmp_path: Path) -> None:
    store = make(tmp_path, Made(methods={"plain": {"full": 1.0}}, seeds=(0,)))
    plan = store.plan()
    assert plan is not None
    runs = (*plan.runs, replace(plan.runs[0], label="twin"))
    store.write_plan(replace(plan, runs=runs))
    store.write_collected(runs)
    (results,) = load([tmp_path])
    assert [run.method for run in results.runs] == ["plain", "twin"]
    found = read_folder(tmp_path, {"macs"}).runs
    assert [[row.metric for row in run.rows] for run in found] == [["top1", "macs"]] * 2


def test_planned_runs_that_are_not_there_are_counted(tmp_path: Path) -> None:
    store = make(tmp_path)
    rows = [row for row in read_rows(store.rows_path) if row.seed != 2]
    for run in ("plain", "ours"):
        shutil.rmtree(store.run_dir(f"digits-resnet20-{run}-s2"))
    write_rows(store.rows_path, rows)
    (results,) = load([tmp_path])
    assert results.unfinished == 2


def test_rows_can_be_published_alone(tmp_path: Path) -> None:
    make(tmp_path)
    shutil.rmtree(tmp_path / "runs")
    (tmp_path / "plan.json").unlink()
    (results,) = load([tmp_path])
    assert len(results.runs) == 6
    assert results.baseline is None
    assert all(run.manifest is None for run in results.runs)


def test_an_empty_folder_is_not_results(tmp_path: Path) -> None:
    assert "'depthbench run' has written to" in refused(tmp_path)
    assert "'depthbench run' has written to" in refused(tmp_path / "absent")


def test_a_file_cut_in_a_row_is_refused(tmp_path: Path) -> None:
    store = make(tmp_path)
    content = store.rows_path.read_bytes()
    store.rows_path.write_bytes(content[: len(content) - 7])
    assert "rows.csv:" in refused(tmp_path)
    assert "cut short" in refused(tmp_path)


def test_a_file_cut_between_two_rows_of_a_run_is_refused(tmp_path: Path) -> None:
    store = make(tmp_path)
    write_rows(store.rows_path, read_rows(store.rows_path)[:-1])
    assert "has other rows of the run digits-resnet20-ours-s2" in refused(tmp_path)


def test_a_file_cut_between_two_runs_is_refused(tmp_path: Path) -> None:
    store = make(tmp_path)
    rows = [r for r in read_rows(store.rows_path) if (r.method, r.seed) != ("ours", 2)]
    write_rows(store.rows_path, rows)
    assert "lacks the rows of the run digits-resnet20-ours-s2" in refused(tmp_path)


def test_rows_of_a_foreign_run_are_refused(tmp_path: Path) -> None:
    store = make(tmp_path / "a")
    other = make(tmp_path / "b", Made(suite="other", salt="-b"))
    rows = read_rows(other.rows_path) + read_rows(store.rows_path)
    write_rows(store.rows_path, rows)
    told = refused(tmp_path / "a")
    assert "holds rows of the run digits-resnet20-plain-s0-b, which has no results in" in told
    assert "or is not in the plan" in told


def test_a_foreign_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    assert "not a rows.csv of depthbench" in refused(tmp_path)


def test_one_run_with_two_contents_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "a")
    store = make(tmp_path / "b", Made(suite="other"))
    run = store.run_dir("digits-resnet20-plain-s0")
    rows = read_rows(run / "rows.csv")
    write_rows(run / "rows.csv", [replace(rows[0], value=1.0), *rows[1:]])
    seal(run)
    plan = store.plan()
    assert plan is not None
    store.write_collected(plan.runs)
    told = refused(tmp_path / "a", tmp_path / "b")
    assert "digits-resnet20-plain-s0 has other rows in" in told
    assert str(tmp_path / "a") in told
    assert str(tmp_path / "b") in told


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    store = make(tmp_path)
    file = store.run_dir("digits-resnet20-plain-s0") / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()))[:40])
    assert "manifest.json is not the file that the run wrote: restore it, or" in refused(tmp_path)
    seal(file.parent)
    assert "manifest.json is cut short or damaged" in refused(tmp_path)
