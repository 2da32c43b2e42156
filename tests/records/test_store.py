from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import benchmarks.records.store
from benchmarks.records.row import FAILED, OK, Row
from benchmarks.records.store import (
    FINISHED,
    RUNNING,
    Plan,
    PlannedRun,
    Store,
    read_rows,
    write_failed_run,
    write_finished_run,
    write_text_atomic,
)
from tasks.errors import UserError

ROOT = Path(__file__).parents[2]


def row(run_id: str = "run-1", **changes: Any) -> Row:
    base = Row(
        suite="mine", run_id=run_id, task="classification", dataset="digits", arch="small",
        method="plain", variant="full", seed=0, phase="test", metric="top1", value=90.0,
        unit="%", status=OK, reason="",
    )  # fmt: skip
    return replace(base, **changes)


def finished(store: Store, run_id: str = "run-1", count: int = 2) -> Path:
    folder = store.open_run(run_id)
    rows = [row(run_id, value=90.0 + i) for i in range(count)]
    write_finished_run(folder, rows, {"run_id": run_id})
    return folder


def plan(*runs: PlannedRun, suite: str = "mine") -> Plan:
    return Plan(suite, "smoke", "Mine", {"epochs": 3.0}, runs)


HOLD = """
import sys
from benchmarks.records.store import Store
with Store(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "results")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path, holder: Any) -> None:
    store = Store(tmp_path / "results")
    with pytest.raises(UserError) as caught, store.lock():
        pytest.fail("two processes hold the lock")
    assert str(store.path) in str(caught.value)
    assert f"process {holder.pid}" in str(caught.value)


def test_a_killed_process_holds_nothing(tmp_path: Path, holder: Any) -> None:
    holder.kill()
    holder.wait()
    with Store(tmp_path / "results").lock():
        pass


def test_the_lock_can_be_taken_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for _ in range(2):
        with store.lock(), pytest.raises(UserError, match=f"process {os.getpid()}"), store.lock():
            pytest.fail("locked twice")


def test_a_run_is_finished_only_with_its_whole_results(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.state("run-1") == "absent"
    folder = store.open_run("run-1")
    assert store.state("run-1") == RUNNING
    write_text_atomic(folder / "manifest.json", json.dumps({"status": "running"}))
    assert store.state("run-1") == RUNNING
    finished(store)
    assert store.state("run-1") == FINISHED
    assert store.is_finished("run-1")
    assert len(read_rows(folder / "rows.csv")) == 2


def cut_rows(folder: Path) -> None:
    lines = (folder / "rows.csv").read_text().splitlines(keepends=True)
    (folder / "rows.csv").write_text("".join(lines[:-1]))


def cut_manifest(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text[: len(text) // 2])


def forget_rows(folder: Path) -> None:
    (folder / "rows.csv").unlink()


def foreign_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"status": "splendid"}')


@pytest.mark.parametrize("damage", [cut_rows, cut_manifest, forget_rows, foreign_manifest])
def test_a_damaged_run_is_kept_aside_and_runs_again(tmp_path: Path, damage: Any) -> None:
    store = Store(tmp_path)
    for number in (1, 2):
        folder = finished(store)
        (folder / "log.txt").write_text(f"attempt {number}")
        damage(folder)
        assert not store.is_finished("run-1")
        assert store.collect(["run-1"]) == []
        assert list(store.open_run("run-1").iterdir()) == []
        aside = tmp_path / "runs" / f"run-1.damaged-{number}"
        assert (aside / "log.txt").read_text() == f"attempt {number}"


def test_an_interrupted_run_keeps_its_folder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.open_run("run-1") / "checkpoint").write_text("weights")
    write_text_atomic(store.run_dir("run-1") / "manifest.json", '{"status": "running"}')
    assert (store.open_run("run-1") / "checkpoint").read_text() == "weights"


def test_rows_are_those_of_finished_and_failed_runs_of_the_plan(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finished(store, "run-1")
    finished(store, "left-over")
    failed = row("run-2", value=None, status=FAILED, reason="out of memory")
    write_failed_run(store.open_run("run-2"), [failed], {})
    store.open_run("run-3")
    rows = store.write_collected(
        [PlannedRun("run-2", "theirs", 0), PlannedRun("run-3", "x", 0), PlannedRun("run-1", "", 0)]
    )
    assert [r.run_id for r in rows] == ["run-2", "run-1", "run-1"]
    assert [r.method for r in rows] == ["theirs", "plain", "plain"]
    assert rows[0].reason == "out of memory"
    assert not store.is_finished("run-2")
    assert read_rows(store.rows_path) == rows


def test_a_folder_belongs_to_one_suite(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.plan() is None
    first = plan(PlannedRun("run-1", "plain", 0, baseline=True), PlannedRun("run-2", "x(by=2)", 1))
    store.write_plan(first)
    assert Store(tmp_path).plan() == first
    store.write_plan(plan(PlannedRun("run-3", "plain", 0)))
    with pytest.raises(UserError, match="holds the results of the suite 'mine', not of 'other'"):
        store.write_plan(plan(suite="other"))
    (tmp_path / "plan.json").write_text('{"suite": "mine"}')
    with pytest.raises(UserError, match="not a plan"):
        store.plan()


def test_a_file_is_no_results_folder(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="name a folder"):
        Store(tmp_path / "taken")
    with pytest.raises(UserError, match="cannot write"):
        Store(tmp_path / "taken" / "below").open_run("run-1")
    with (
        pytest.raises(UserError, match="cannot write"),
        Store(tmp_path / "taken" / "below").lock(),
    ):
        pytest.fail("locked a folder that cannot be")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "rows.csv"
    write_text_atomic(path, "old\n")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(UserError) as caught:
        write_text_atomic(path, "new\n")
    monkeypatch.undo()
    assert "the disk is full; nothing measured so far is lost" in str(caught.value)
    assert path.read_text() == "old\n"
    assert [p.name for p in tmp_path.iterdir()] == ["rows.csv"]


def test_a_kill_while_writing_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from benchmarks.records.store import write_text_atomic\n"
        "print('up', flush=True)\n"
        "for i in range(10**9): write_text_atomic(Path(sys.argv[1]), f'{i % 10}' * 300_000)\n"
    )
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, cwd=ROOT
        )
        assert process.stdout is not None
        process.stdout.readline()
        while not path.exists():
            pass
        process.kill()
        process.communicate()
        text = path.read_text()
        assert len(text) == 300_000
        assert len(set(text)) == 1


def test_what_killed_writes_have_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = finished(store)
    (folder / "checkpoints").mkdir()
    ours = [
        *(tmp_path / f".{name}.ab12cd34" for name in ("rows.csv", "plan.json", "table.md")),
        *(folder / f".{name}.0123abcd" for name in ("manifest.json", "rows.csv", "digest.json")),
        folder / "checkpoints" / "latest.tmp",
    ]
    others = [
        *(
            tmp_path / name
            for name in (".rows.csv.mine", ".notes.md.ab12cd34", "rows.csv.ab12cd34")
        ),
        folder / ".rows.csv.swp",
        folder / "checkpoints" / "latest.pth",
    ]
    for path in (*ours, *others):
        path.write_text("half")
    with store.lock():
        assert not [path for path in ours if path.exists()]
        assert all(path.exists() for path in others)


def test_a_write_clears_what_a_killed_one_left_a_minute_ago(tmp_path: Path) -> None:
    old, new = tmp_path / ".table.md.ab12cd34", tmp_path / ".table.md.12345678"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (0, 0))
    write_text_atomic(tmp_path / "table.md", "whole\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, "table.md"]


def test_a_run_killed_before_its_last_file_is_resumed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = finished(store)
    (folder / "digest.json").unlink()
    assert store.state("run-1") == RUNNING
    assert store.open_run("run-1") == folder
    assert (folder / "rows.csv").exists()


def test_a_failed_run_that_is_opened_again_has_not_ended(tmp_path: Path) -> None:
    store = Store(tmp_path)
    failed = row("run-2", value=None, status=FAILED, reason="out of memory")
    write_failed_run(store.open_run("run-2"), [failed], {"run_id": "run-2", "reason": "no memory"})
    folder = store.open_run("run-2")
    assert store.state("run-2") == RUNNING
    assert store.manifest("run-2") == {"run_id": "run-2", "schema": 2, "status": "running"}
    assert not (folder / "digest.json").exists()


def test_records_are_read_again_only_when_a_file_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    folder = finished(store)
    read: list[Path] = []
    real = benchmarks.records.store.read_record
    monkeypatch.setattr("benchmarks.records.store.read_record", lambda f: read.append(f) or real(f))
    assert [store.state("run-1") for _ in range(3)] == [FINISHED] * 3
    assert store.collect(["run-1"])
    assert len(read) == 1
    (folder / "rows.csv").write_text("")
    assert store.state("run-1") == "damaged"
    assert store.damage("run-1") == f"{folder / 'rows.csv'} is not the file that the run wrote"


def test_what_json_has_no_form_for_is_read_back_as_text(tmp_path: Path) -> None:
    folder = Store(tmp_path).open_run("run-1")
    odd = {"run_id": "run-1", "meters": {"loss": float("nan"), (1, 2): [float("inf"), Path("x")]}}
    write_finished_run(folder, [row()], odd)
    manifest = Store(tmp_path).manifest("run-1")
    assert manifest is not None
    assert manifest["meters"] == {"loss": "nan", "(1, 2)": ["inf", "x"]}
    assert Store(tmp_path).is_finished("run-1")
