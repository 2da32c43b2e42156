"""Every record that is edited, cut, emptied or lost is named, whatever verb reads it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report.made_results import Made, edit_json, make, make_old

from benchmarks.cli import main
from benchmarks.records.plan import parse_plan, write_plan
from benchmarks.records.verification import seal

RUN = "digits-resnet20-ours-s1"
FOLDER_VERBS = ("report", "compare", "report --page", "publish", "against", "against --write")
RUN_VERBS = ("show", "rerun", "show --pictures")
Spoil = Callable[[Path, Path], object]
"""Takes the results folder and the folder of :data:`RUN`."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(
        seeds=(0, 1), profile="short", fail=frozenset({("broken", 0), ("broken", 1)}),
        methods={"plain": {"full": 1.0}, "ours": {"super": 1.0}, "broken": {"full": 1.0}},
    )  # fmt: skip
    return make(tmp_path_factory.mktemp("whole") / "mine", made).path


@pytest.fixture
def results(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "mine"))


@pytest.fixture
def depthbench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[object, str, str]]:
    """The command in this process: exit code, what it printed, what it said of errors."""

    def call(*words: str | Path) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["depthbench", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return call


def words(verb: str, results: Path, whole: Path) -> list[str | Path]:
    out = results.parent / "out"
    return {
        "report": ["report", results],
        "compare": ["compare", results],
        "report --page": ["report", results, "--page", "--out", out],
        "publish": ["publish", results, "--to", out],
        "against": ["compare", results, "--against", whole],
        "against --write": ["compare", results, "--against", out / "main.csv", "--write"],
        **{verb: [verb, results / "runs" / RUN] for verb in ("show", "rerun")},
        "show --pictures": ["show", results / "runs" / RUN, "--pictures"],
    }[verb]


def write(name: str, content: str | bytes) -> Spoil:
    """Put something in place of a file, which lies in the run's folder unless it says otherwise."""

    def spoil(results: Path, run: Path) -> None:
        place = results / name[1:] if name.startswith("/") else run / name
        place.write_bytes(content if isinstance(content, bytes) else content.encode())

    return spoil


def replace(name: str, before: str, after: str) -> Spoil:
    """Replace the last occurrence of a text."""

    def spoil(results: Path, run: Path) -> None:
        place = results / name[1:] if name.startswith("/") else run / name
        head, found, tail = place.read_text().rpartition(before)
        assert found
        place.write_text(head + after + tail)

    return spoil


def cut_lines(name: str, first: int, last: int | None) -> Spoil:
    def spoil(results: Path, run: Path) -> None:
        place = results / name[1:] if name.startswith("/") else run / name
        lines = place.read_text().splitlines(keepends=True)
        del lines[first:last]
        place.write_text("".join(lines))

    return spoil


def swap_runs(results: Path, run: Path) -> None:
    other = run.with_name(RUN.replace("s1", "s0"))
    run.rename(run.with_name("aside"))
    other.rename(run)
    run.with_name("aside").rename(other)


def rename_profile_and_sign(results: Path, run: Path) -> None:
    replace("/plan.json", '"short"', '"paper"')(results, run)
    plan, damage = parse_plan(results)
    assert plan is not None
    assert damage is not None
    write_plan(results, plan)


def folder_in_place(results: Path, run: Path) -> None:
    (run / "rows.csv").unlink()
    (run / "rows.csv").mkdir()


DEEP = '{"a":' * 5000 + "1" + "}" * 5000
OF_RUN: dict[str, tuple[Spoil, str]] = {
    "a value of the rows": (replace("rows.csv", "40000000.0", "30000000.0"), "rows.csv"),
    "a letter of the rows": (replace("rows.csv", "ok", "oK"), "rows.csv"),
    "two rows cut": (cut_lines("rows.csv", -2, None), "rows.csv"),
    "a row dropped": (cut_lines("rows.csv", 2, 3), "rows.csv"),
    "rows emptied": (write("rows.csv", ""), "rows.csv"),
    "rows without rows": (cut_lines("rows.csv", 1, None), "rows.csv"),
    "rows removed": (lambda results, run: (run / "rows.csv").unlink(), "rows.csv"),
    "a folder for rows": (folder_in_place, "rows.csv"),
    "a manifest of nothing": (write("manifest.json", "{}"), "manifest.json"),
    "no spec": (
        lambda results, run: edit_json(run / "manifest.json", lambda m: m.update(spec=None)),
        "manifest.json",
    ),
    "a deep manifest": (write("manifest.json", DEEP), "manifest.json"),
    "a manifest of bytes": (write("manifest.json", b"\xff\xfe"), "manifest.json"),
    "another device": (replace("manifest.json", "Some CPU", "Some GPU"), "manifest.json"),
    "an end undone": (replace("manifest.json", '"finished"', '"running"'), "manifest.json"),
    "manifest removed": (lambda results, run: (run / "manifest.json").unlink(), "manifest.json"),
    "a point of the curve": (replace("curve.csv", ",40,", ",41,"), "curve.csv"),
    "curve emptied": (write("curve.csv", ""), "curve.csv"),
    "curve removed": (lambda results, run: (run / "curve.csv").unlink(), "curve.csv"),
    "digest removed": (lambda results, run: (run / "digest.json").unlink(), "digest.json"),
    "a digest of nothing": (write("digest.json", "{}"), "digest.json"),
    "a digest of one file": (
        write("digest.json", json.dumps({"schema": 2, "files": {"rows.csv": "0" * 64}})),
        "digest.json",
    ),
    "a digest that is none": (
        lambda results, run: edit_json(
            run / "digest.json", lambda d: d["files"].update({"rows.csv": "none"})
        ),
        "digest.json",
    ),
    "a newer run": (
        lambda results, run: edit_json(run / "digest.json", lambda d: d.update(schema=3)),
        "digest.json is of schema 3",
    ),
}
OF_FOLDER: dict[str, tuple[Spoil, str]] = {
    "a value of the index": (replace("/rows.csv", "40000000.0", "30000000.0"), "rows.csv"),
    "a row of the index": (cut_lines("/rows.csv", 3, 4), "rows.csv"),
    "a letter of the index": (replace("/rows.csv", "top1", "topl"), "rows.csv"),
    "half a letter": (write("/rows.csv", b"suite,\xff"), "rows.csv"),
    "two rows of the index": (cut_lines("/rows.csv", -2, None), "rows.csv"),
    "only a header": (cut_lines("/rows.csv", 1, None), "rows.csv"),
    "an empty index": (write("/rows.csv", ""), "rows.csv"),
    "no index": (lambda results, run: (results / "rows.csv").unlink(), "rows.csv"),
    "a run removed": (lambda results, run: shutil.rmtree(run), RUN),
    "all runs removed": (lambda results, run: shutil.rmtree(run.parent), "rows.csv"),
    "two runs swapped": (swap_runs, "holds the run"),
    "another profile": (replace("/plan.json", '"short"', '"paper"'), "plan.json"),
    "another profile, signed": (rename_profile_and_sign, "plan.json says profile paper"),
    "another budget": (replace("/plan.json", '"epochs": 4', '"epochs": 400'), "plan.json"),
    "another baseline": (replace("/plan.json", '"baseline": true', '"baseline": false'), "plan"),
    "no plan": (lambda results, run: (results / "plan.json").unlink(), "plan.json"),
    "a plan of a list": (write("/plan.json", "[]"), "plan.json"),
    "a deep plan": (write("/plan.json", DEEP), "plan.json"),
    "a plan out of the folder": (
        lambda results, run: edit_json(
            results / "plan.json", lambda p: p["runs"][0].update(run_id="../../elsewhere")
        ),
        "plan.json",
    ),
    "a newer folder": (
        lambda results, run: edit_json(results / "plan.json", lambda p: p.update(schema=3)),
        "plan.json is of schema 3",
    ),
}


def refused(end: tuple[object, str, str], names: str) -> None:
    code, _, errors = end
    assert code == 2, errors
    (sentence,) = errors.splitlines()
    assert sentence.startswith("error: ")
    assert names in sentence
    assert "Traceback" not in sentence
    # What is to be done about it.
    assert any(
        word in sentence
        for word in ("restore it", "depthbench run", "use the version", "a new folder")
    )


@pytest.mark.parametrize("how", OF_RUN)
def test_a_record_that_is_not_the_run_s_is_named_by_every_verb(
    how: str, results: Path, whole: Path, depthbench: Callable[..., tuple[object, str, str]]
) -> None:
    spoil, names = OF_RUN[how]
    spoil(results, results / "runs" / RUN)
    for verb in (*FOLDER_VERBS, *RUN_VERBS):
        refused(depthbench(*words(verb, results, whole)), names)
    assert not (results.parent / "out").exists()


@pytest.mark.parametrize("how", OF_FOLDER)
def test_an_index_and_a_plan_that_are_not_those_of_the_runs_are_named(
    how: str, results: Path, whole: Path, depthbench: Callable[..., tuple[object, str, str]]
) -> None:
    spoil, names = OF_FOLDER[how]
    spoil(results, results / "runs" / RUN)
    for verb in FOLDER_VERBS:
        refused(depthbench(*words(verb, results, whole)), names)
    assert not (results.parent / "out").exists()


@pytest.mark.parametrize("verb", RUN_VERBS)
def test_a_run_in_the_folder_of_another_is_not_taken_for_that(depthbench, results, whole, verb):
    swap_runs(results, results / "runs" / RUN)
    refused(depthbench(*words(verb, results, whole)), f"holds the run {RUN.replace('s1', 's0')}")


def test_an_untouched_folder_is_taken_by_every_verb(
    results: Path, whole: Path, depthbench: Callable[..., tuple[object, str, str]]
) -> None:
    for verb in (*FOLDER_VERBS, "show"):
        code, _, errors = depthbench(*words(verb, results, whole))
        assert code == 0, verb
        assert all(line.startswith("note: No ") for line in errors.splitlines()), verb
    published = results.parent / "out" / "published" / "mine"
    code, _, errors = depthbench("report", published)
    assert (code, errors) == (0, "")
    assert (published / "runs" / RUN / "digest.json").is_file()


def test_a_failed_run_is_covered_as_well(
    results: Path, whole: Path, depthbench: Callable[..., tuple[object, str, str]]
) -> None:
    run = results / "runs" / "digits-resnet20-broken-s0"
    replace("rows.csv", "out of memory", "bad luck")(results, run)
    refused(depthbench(*words("report", results, whole)), str(run / "rows.csv"))
    replace("rows.csv", "bad luck", "out of memory")(results, run)
    (run / "curve.csv").write_text("phase,epoch,step\n")
    refused(depthbench(*words("report", results, whole)), "so it was added")


ODD_JSON = {
    "{}": "'status' is missing",
    DEEP: "nested too deeply",
    '{"status": "finished", "recipe": ' + DEEP[:1000] + "1" + "}" * 201: "nested too deeply",
    '{"status": "finished", "spec": null}': "'spec' is null, not a mapping",
    '{"status": "finished", "spec": {"seed": "0"}}': "'spec.seed' is text, not a number",
    '{"status": "finished", "spec": {"seed": true}}': "'spec.seed' is true or false",
    '{"status": "finished", "spec": {"budget": {"epochs": [4]}}}': "'spec.budget.epochs' is a list",
    '{"status": "finished", "device": ["Some CPU"]}': "'device' is a list, not a mapping",
    '{"status": "finished", "device": {"name": 7}}': "'device.name' is a number, not text",
    '{"status": "finished", "segments": "one"}': "'segments' is text, not a list",
    '{"status": "finished", "segments": [{}]}': "'segments.0.started' is missing",
    '{"status": "finished", "fingerprint": {"code": 1}}': "'fingerprint.code' is a number",
    '{"status": 1}': "'status' is a number, not text",
    '{"status": "splendid"}': "its status is 'splendid'",
    '{"status": "finished", "best_epoch": NaN}': "NaN is not a finite number",
    '{"status": "finished", "best_epoch": 1e999}': "1e999 is not a finite number",
    '{"status": "finished", "best_epoch": 1' + "0" * 5000 + "}": "is too large",
    '{"status": "finished", "status": "failed"}': "duplicate key 'status'",
    '{"status": "finished", "device": {"name": "\\ud800"}}': "surrogates not allowed",
    '["status"]': "the whole is a list, not a mapping",
    '{"status": "fini': "cut short or damaged",
    '{"status": "finished", "schema": 3}': "is of schema 3",
}


@pytest.mark.parametrize("text", ODD_JSON, ids=lambda text: text[:60])
def test_an_odd_manifest_that_no_digest_vouches_for_is_named_too(
    text: str, results: Path, whole: Path, depthbench: Callable[..., tuple[object, str, str]]
) -> None:
    make_old(results)
    (results / "runs" / RUN / "manifest.json").write_text(text)
    for verb in (*FOLDER_VERBS, *RUN_VERBS):
        end = depthbench(*words(verb, results, whole))
        refused(end, f"{RUN}/manifest.json ")
        assert ODD_JSON[text] in end[2]


def test_an_older_folder_is_read_marked_and_not_published(
    results: Path, whole: Path, depthbench: Callable[..., tuple[object, str, str]]
) -> None:
    make_old(results)
    mark = "unverified: recorded before runs had digests"
    _, table, _ = depthbench("report", results)
    assert f"; {mark}." in table.splitlines()[0]
    assert f"note: {results}: {mark}" in depthbench("compare", results)[1].splitlines()
    assert depthbench("report", results, "--out", results / "report", "--format", "md,html")[0] == 0
    for name in ("report.md", "report.html"):
        assert mark in (results / "report" / name).read_text()
    code, _, errors = depthbench(*words("against --write", results, whole))
    assert (code, errors) == (0, f"note: {results}: {mark}\n")
    assert f"note: {results}: {mark}" in depthbench("compare", whole, "--against", results)[2]
    assert mark in depthbench("show", results / "runs" / RUN)[1]
    refused(
        depthbench(*words("publish", results, whole)),
        f"{results} has 6 of 6 runs that nothing vouches for",
    )


def test_one_older_run_is_counted(
    results: Path, depthbench: Callable[..., tuple[object, str, str]]
) -> None:
    run = results / "runs" / RUN
    (run / "digest.json").unlink()
    edit_json(run / "manifest.json", lambda values: values.pop("schema"))
    _, table, _ = depthbench("report", results)
    assert "; unverified (1 of 6 runs): recorded before" in table


def test_rows_alone_are_shown_and_never_taken_over(
    results: Path, whole: Path, depthbench: Callable[..., tuple[object, str, str]]
) -> None:
    shutil.rmtree(results / "runs")
    (results / "plan.json").unlink()
    assert "unverified: rows without the records of their runs" in depthbench("report", results)[1]
    for verb in ("publish", "against --write"):
        refused(depthbench(*words(verb, results, whole)), str(results))
    assert not (results.parent / "out").exists()


def made_by_other_code(manifest: dict[str, Any]) -> None:
    manifest["spec"].update(method="end_to_end", task="classification")
    manifest["fingerprint"] = {"code": {"tasks": "0"}}


def test_a_run_whose_code_has_changed_is_marked(
    results: Path, whole: Path, depthbench: Callable[..., tuple[object, str, str]]
) -> None:
    for run in results.glob("runs/*-s1"):
        edit_json(run / "manifest.json", made_by_other_code)
        seal(run)
    mark = "stale (3 of 6 runs): the code that decides their numbers has changed since"
    assert mark in depthbench("report", results)[1].splitlines()[0]
    assert mark in depthbench("compare", results)[1]
    code, _, errors = depthbench(*words("publish", results, whole))
    assert (code, errors) == (0, "")
    assert f"; {mark}." in (results.parent / "out" / "README.md").read_text()


@pytest.mark.parametrize("gone", ["the folder", "its rows"])
def test_a_folder_that_vanishes_or_is_replaced_is_told(
    gone: str, results: Path, whole: Path, depthbench: Callable[..., tuple[object, str, str]]
) -> None:
    shutil.rmtree(results)
    if gone == "its rows":
        results.write_text("")
    for verb in (*FOLDER_VERBS, *RUN_VERBS):
        code, _, errors = depthbench(*words(verb, results, whole))
        assert code == 2
        (sentence,) = errors.splitlines()
        assert str(results) in sentence


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_record_that_must_not_be_read_is_named(
    results: Path, depthbench: Callable[..., tuple[object, str, str]]
) -> None:
    (results / "runs" / RUN / "curve.csv").chmod(0)
    code, _, errors = depthbench("report", results)
    assert code == 2
    assert "curve.csv: Permission denied" in errors
