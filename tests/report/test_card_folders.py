"""Run folders as they are found: published, unfinished, failed, damaged."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from report.made_runs import Made

import benchmarks.engine.session as training_session
from benchmarks.conformance.subject import contained
from benchmarks.engine.run import execute
from benchmarks.launch.planning import plan_runs
from benchmarks.records.curve import read_curve
from benchmarks.records.progress import PROGRESS, read_progress
from benchmarks.records.store import write_failed_run
from benchmarks.records.verification import seal
from benchmarks.report.card.document import explanation
from benchmarks.report.card.folder import read_run
from benchmarks.report.card.sums import MISSES
from benchmarks.report.card.text import NARROWEST, explain_text
from tasks.errors import UserError

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
FOLDERS = sorted(path.parent for path in PUBLISHED.glob("*/runs/*/manifest.json"))
SPEC: dict[str, Any] = {
    "suite": "tiny",
    "profile": "smoke",
    "task": "classification",
    "task_options": {"dataset": "digits", "arch": {"name": "cifar_resnet14", "width": 8}},
    "method": "end_to_end",
    "method_options": {},
    "seed": 0,
    "budget": {"epochs": 2},
    "device": "cpu",
    "threads": 1,
}


class Stopped(Exception):
    """Ends a run where a kill would."""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was ended in its second epoch, after a checkpoint in its midst."""
    results = tmp_path_factory.mktemp("results")
    saves = 0

    def report(event: dict[str, Any]) -> None:
        nonlocal saves
        if event["event"] == "progress" and event["batch"] > 42:
            saves += 1
            if saves > 2:
                raise Stopped

    hook = training_session.CheckpointHook
    progress = training_session.ProgressHook
    with contained(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_session, "CheckpointHook", partial(hook, first=0.0, longest=0.0))
        patch.setattr(training_session, "ProgressHook", partial(progress, interval=0.0))
        (planned,) = plan_runs([SPEC], lambda event: None)
        folder = results / "runs" / planned["run_id"]
        with pytest.raises(Stopped):
            execute(planned, str(folder), report)
    return folder


@pytest.fixture
def broken(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "results" / "runs" / stopped.name))


def test_every_published_run_is_explained_and_its_sums_hold() -> None:
    assert len(FOLDERS) > 20
    for folder in FOLDERS:
        document = explanation(read_run(folder))
        json.dumps(document, allow_nan=False)
        sums = [each for kind in ("time", "energy", "memory") for each in document[kind]]
        assert sums
        assert not [each["title"] for each in sums if each["verdict"] == MISSES], folder
        assert document["id_holds"] is True
        for width in (20, 80, 132):
            limit = max(width, NARROWEST)
            text = explain_text(document, width, plain=True)
            text.encode("ascii")
            for line in text.splitlines():
                one_word = max(map(len, line.split()), default=0) > limit - 16
                assert len(line) <= limit or "depthbench r" in line or one_word


def test_last_and_best_are_those_of_the_rows() -> None:
    folder = next(f for f in FOLDERS if f.name.startswith("digits-cifar_resnet26-depth_matched-s0"))
    document = explanation(read_run(folder))
    top = document["quality"]["values"]["full"]["top1"]
    assert top["test"] == 98.35164835164835
    assert top["test_best"] == 98.07692307692307
    assert (document["quality"]["last_epoch"], document["quality"]["best_epoch"]) == (4, 3)
    text = explain_text(document, 100)
    assert "last 100 (epoch 4), best 100 (epoch 3)" in text
    assert "depthbench run quickstart" in text
    assert f"depthbench rerun {folder}" in text


def test_an_unfinished_run_is_shown_up_to_its_checkpoint(stopped: Path) -> None:
    document = explanation(read_run(stopped))
    saved = torch.load(stopped / "checkpoints" / "latest.pth", weights_only=True)
    standing = document["standing"]
    assert document["state"] == "running"
    assert standing["under_way"] is False
    assert standing["checkpoint"]["batch"] == saved["meta"]["iter"] >= 42
    assert (standing["checkpoint"]["epoch"], standing["checkpoint"]["epochs"]) == (2, 2)
    assert standing["checkpoint"]["phase"] == "train"
    assert standing["checkpoint"]["seconds"] == saved["meters"]["clock"]["seconds"]
    assert document["curve"]["points"] == saved["depthbench"]["curve"]
    assert document["quality"]["headline"] == "top1"
    assert [segment["interrupted"] for segment in document["segments"]] == [True]
    text = explain_text(document, 100)
    assert "not finished" in text
    steps = standing["checkpoint"]["batches"]
    assert f"batch {saved['meta']['iter']} of {steps} of phase train (epoch 2 of 2)" in text
    assert f"depthbench run SUITE.yaml --results {stopped.parents[1]}" in text
    assert "training loss" in text


def test_a_run_writes_its_progress_until_its_last_phase_has_ended(stopped: Path) -> None:
    folder = Path(shutil.copytree(stopped, stopped.parent.parent / "whole" / stopped.name))
    before = json.loads((folder / PROGRESS).read_text())
    with contained():
        (planned,) = plan_runs([SPEC], lambda event: None)
        execute(planned, str(folder), lambda event: None)
    progress = read_progress(folder)
    assert progress is not None
    assert (before["phase_ended"], progress["phase_ended"]) == (False, True)
    manifest = json.loads((folder / "manifest.json").read_text())
    phases = [{"name": p["name"], "batches": p["batches"]} for p in manifest["phases"]]
    assert progress["finished"] == phases
    assert (progress["batch"], progress["batches"]) == (phases[-1]["batches"],) * 2
    assert (progress["epoch"], progress["epochs"]) == (2, 2)
    assert progress["curve"] == read_curve(folder / "curve.csv")
    # A finished run does not need it.
    (folder / PROGRESS).write_text("damaged")
    assert explanation(read_run(folder))["state"] == "finished"


def cut(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a cut checkpoint": (
        lambda folder: cut(folder / "checkpoints" / "latest.pth"),
        r"latest.pth is cut short or damaged: the run starts over",
    ),
    "an empty checkpoint": (
        lambda folder: (folder / "checkpoints" / "latest.pth").write_bytes(b""),
        r"latest.pth is cut short or damaged: the run starts over",
    ),
    "no checkpoint": (
        lambda folder: (folder / "checkpoints" / "latest.pth").unlink(),
        "there is no checkpoint: it starts over",
    ),
    "no progress": (
        lambda folder: (folder / PROGRESS).unlink(),
        r"is at an unknown step: .*progress.json is not there",
    ),
    "a cut progress": (
        lambda folder: cut(folder / PROGRESS),
        r"is at an unknown step: .*progress.json is cut short or damaged",
    ),
    "a list as progress": (
        lambda folder: (folder / PROGRESS).write_text("[]"),
        r"is at an unknown step: .*progress.json is damaged: the whole is a list",
    ),
    "text for a batch": (
        lambda folder: edit_json(folder / PROGRESS, lambda found: found.update(batch="many")),
        r"progress.json is damaged: 'batch' is text, not a number",
    ),
    "text for seconds": (
        lambda folder: edit_json(folder / PROGRESS, lambda f: f["seconds"].update(train={"x": ""})),
        r"progress.json is damaged: 'seconds.train.x' is text",
    ),
    "a point without an epoch": (
        lambda folder: edit_json(folder / PROGRESS, lambda found: found["curve"][0].pop("epoch")),
        r"progress.json is damaged: 'curve.0.epoch' is missing",
    ),
    "a newer schema": (
        lambda folder: edit_json(folder / PROGRESS, lambda found: found.update(schema=99)),
        "is of schema 99",
    ),
    "no name of the phase": (
        lambda folder: edit_json(folder / PROGRESS, lambda found: found.pop("phase")),
        r"progress.json is damaged: 'phase' is missing",
    ),
    "a folder as progress": (
        lambda folder: ((folder / PROGRESS).unlink(), (folder / PROGRESS).mkdir()),
        r"is at an unknown step: cannot read .*progress.json",
    ),
}


def edit_json(path: Path, edit: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("case", BROKEN)
def test_how_far_it_came_is_unknown_in_one_sentence_and_nothing_else_is_lost(
    case: str, broken: Path
) -> None:
    spoil, sentence = BROKEN[case]
    spoil(broken)
    document = explanation(read_run(broken))
    json.dumps(document, allow_nan=False)
    assert document["curve"]["points"] == []
    text = explain_text(document, 500)
    assert re.search(sentence, text)
    assert "go on with it by" in text
    assert "no validation has been saved yet" in text


def test_numbers_that_are_none_are_gaps_in_the_curve_of_an_unfinished_run(broken: Path) -> None:
    strange = {"top1": "nan", "nll": [1], "train_loss": None}
    edit_json(broken / PROGRESS, lambda found: found["curve"][0].update(strange))
    document = explanation(read_run(broken))
    assert {document["curve"]["points"][0][key] for key in strange} == {None}
    assert "no values" not in explain_text(document, 80)


def test_a_failed_run_says_why_and_how_to_go_on(broken: Path) -> None:
    (broken / "log.txt").write_text("begins\n" * 20 + "Traceback\nRuntimeError: out of memory\n")
    manifest = json.loads((broken / "manifest.json").read_text())
    write_failed_run(broken, [], {**manifest, "reason": "killed by SIGKILL (out of memory?)"})
    document = explanation(read_run(broken))
    assert document["standing"]["reason"] == "killed by SIGKILL (out of memory?)"
    assert document["standing"]["log"][-1] == "RuntimeError: out of memory"
    text = explain_text(document, 100)
    assert "failed: killed by SIGKILL" in text
    assert "RuntimeError: out of memory" in text
    assert "go on with it by" in text


def test_a_run_that_failed_before_it_began_is_told_from_its_plan(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "digits-end_to_end-s0-0"
    folder.mkdir(parents=True)
    planned = {"run_id": folder.name, "label": "end_to_end", "headline": "top1", "spec": SPEC}
    write_failed_run(folder, [], {**planned, "dataset": "digits", "reason": "no memory"})
    text = explain_text(explanation(read_run(folder)), 80)
    assert "there is no checkpoint" in text
    assert "no memory" in text
    assert "digits" in text


def test_a_built_in_suite_goes_on_with_the_options_that_it_was_given(
    broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(broken.parents[2])
    path = broken / "manifest.json"
    manifest = json.loads(path.read_text())
    source = next(f for f in FOLDERS if f.name.startswith("digits-cifar_resnet26-end_to_end-s1"))
    manifest["spec"] = json.loads((source / "manifest.json").read_text())["spec"]
    for changes, command in (
        ({}, "depthbench run quickstart --results results"),
        (
            {"device": "cuda:1", "budget": {"seconds": 60.0}, "method_file": "/x y.py"},
            "depthbench run quickstart --device cuda:1 --budget seconds=60 "
            "--method-file '/x y.py' --results results",
        ),
        # A file that only has the name of a built-in suite.
        ({"recipe": {"batch_size": 7}}, "depthbench run SUITE.yaml --results results"),
    ):
        spoilt = {**manifest, "spec": {**manifest["spec"], **changes}}
        path.write_text(json.dumps(spoilt))
        assert explanation(read_run(broken))["standing"]["command"] == command


def change(path: Path, edit: Callable[[str], str]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = folder / path
        file.write_text(edit(file.read_text()))

    return spoil


def sealed(path: Path, edit: Callable[[str], str]) -> Callable[[Path], None]:
    """The same, with a digest that vouches for it."""

    def spoil(folder: Path) -> None:
        change(path, edit)(folder)
        seal(folder)

    return spoil


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a cut manifest": (
        change(Path("manifest.json"), lambda t: t[:200]),
        "manifest.json is not the file that the run wrote",
    ),
    "another json": (sealed(Path("manifest.json"), lambda t: "{}"), "'status' is missing"),
    "no spec": (
        sealed(Path("manifest.json"), lambda t: '{"status": "finished"}'),
        "names no 'spec'",
    ),
    "a status": (
        sealed(Path("manifest.json"), lambda t: t.replace('"finished"', '"done"')),
        "status is 'done'",
    ),
    "cut rows": (sealed(Path("rows.csv"), lambda t: t[:-40]), r"rows.csv:\d+: .*cut short"),
    "cut between rows": (
        change(Path("rows.csv"), lambda t: t[: t.rindex("\n", 0, -1) + 1]),
        "not the file that the run wrote",
    ),
    "a changed row": (
        change(Path("rows.csv"), lambda t: t.replace("90.0", "99.0")),
        "not the file that the run wrote",
    ),
    "no rows": (lambda folder: (folder / "rows.csv").unlink(), "rows.csv is missing"),
    "a cut curve": (sealed(Path("curve.csv"), lambda t: t[:-3]), "curve.csv:3: .*cut short"),
    "a cut head": (sealed(Path("curve.csv"), lambda t: t[:9]), "curve.csv:1: .*cut short"),
    "a wrong cell": (
        sealed(Path("curve.csv"), lambda t: t.replace("0.05", "x")),
        "curve.csv:2: .*damaged",
    ),
    "a short line": (
        sealed(Path("curve.csv"), lambda t: t.replace(",0.9\n", "\n")),
        "curve.csv:2: .*damaged",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_damaged_files_are_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    folder = Made().write(tmp_path)
    spoil, message = BAD[case]
    spoil(folder)
    with pytest.raises(UserError, match=message) as error:
        read_run(folder)
    assert "\n" not in str(error.value)


def test_a_curve_without_validations_is_empty_and_an_absent_one_is_none(tmp_path: Path) -> None:
    (tmp_path / "curve.csv").write_text("\n")
    assert read_curve(tmp_path / "curve.csv") == []
    assert read_curve(tmp_path / "absent.csv") is None
    (tmp_path / "curve.csv").write_text("phase,epoch,step,seconds,top1\ntrain,1,5,1.5,\n")
    assert read_curve(tmp_path / "curve.csv") == [
        {"phase": "train", "epoch": 1, "batch": 5, "seconds": 1.5, "top1": None}
    ]
