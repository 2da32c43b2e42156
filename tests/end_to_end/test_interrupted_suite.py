"""SIGKILL half way, then the same command: the same rows as without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from end_to_end.end_to_end_helpers import command, kill_when, rows, scores, write_suite

DAWDLING = """\
import os
import time

from methods import METHODS
from methods.stochastic_depth import StochasticDepth


@METHODS.register("dawdling")
class Dawdling(StochasticDepth):
    def train_step(self, model, data, optim_wrapper):
        time.sleep(float(os.environ.get("DAWDLE", "0")))
        return super().train_step(model, data, optim_wrapper)
"""


@pytest.mark.slow
def test_killed_suite_goes_on_to_the_same_rows(tmp_path):
    suite = write_suite(
        tmp_path,
        methods="[end_to_end, dawdling]",
        budget="{epochs: 3}",
        task="{dataset: digits, arch: {name: cifar_resnet14, width: 8}}",
        recipe="{batch_size: 64}",
    )
    (tmp_path / "dawdling.py").write_text(DAWDLING)
    run = ("run", str(suite), "--method-file", "dawdling.py", "--results")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert command(*run, str(whole), cwd=tmp_path).returncode == 0
    # Its 60 steps take 6 s on any machine: the first checkpoint comes after 2 s.
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *run, str(cut)],
        cwd=tmp_path,
        env={**os.environ, "DAWDLE": "0.1"},
        stdout=subprocess.DEVNULL,
    )

    def second_run_has_a_checkpoint() -> bool:
        runs = sorted((cut / "runs").glob("*dawdling*/checkpoints/latest.pth"))
        return bool(runs)

    kill_when(process, second_run_has_a_checkpoint)
    first = next((cut / "runs").glob("*end_to_end*")) / "manifest.json"
    finished = first.read_text()
    again = command(*run, str(cut), cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "resumed" in again.stdout
    assert first.read_text() == finished, "a finished run was run again"
    assert scores(cut) == scores(whole)

    (second,) = (cut / "runs").glob("*dawdling*")
    segments = json.loads((second / "manifest.json").read_text())["segments"]
    assert [bool(s["ended"]) for s in segments] == [True, True]
    assert segments[0]["ended"] == "interrupted"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a suite that has run, and what the command printed under ``--json``."""
    folder = tmp_path_factory.mktemp("finished")
    done = command("run", str(write_suite(folder)), "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_json_is_one_document(finished):
    document = json.loads(finished[1])
    assert document["finished"] == document["runs"] == 1
    missing = [row for row in document["rows"] if row["value"] is None]
    assert missing, "a machine without meters must say so"
    assert all(row["reason"] and row["status"] == "unavailable" for row in missing)


def test_a_finished_suite_is_not_run_again(finished):
    folder, _ = finished
    results = folder / "results" / "tiny"
    before = rows(results)
    again = command("run", "tiny.yaml", cwd=folder)
    assert again.returncode == 0
    assert "1 of 1 runs are finished already" in again.stdout
    assert rows(results) == before
    assert {p.name for p in results.iterdir()} >= {"table.md", "table.csv", "table.tex", "runs"}


def test_truncated_rows_are_told_and_written_anew(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    path = tmp_path / "results" / "tiny" / "rows.csv"
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    done = command("report", "results/tiny", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "rows.csv" in done.stderr
    assert "line" in done.stderr
    again = command("run", "tiny.yaml", cwd=tmp_path)
    assert again.returncode == 0
    assert "1 of 1 runs are finished already" in again.stdout
    assert path.read_bytes() == whole
