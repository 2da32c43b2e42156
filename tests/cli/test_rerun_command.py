"""``depthbench rerun`` and ``depthbench show`` as commands, on a run of seconds."""

from __future__ import annotations

import json
import platform
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from cli.test_command import ROOT, depthbench, one_error
from cli.test_show_command import carry_out, change_manifest, spec

from benchmarks.cli import rerun as command
from benchmarks.launch.local import ForkServer
from benchmarks.launch.preload import preload_for_tasks
from benchmarks.records.store import read_rows, write_rows
from benchmarks.records.verification import seal
from tasks.errors import UserError

PUBLISHED = ROOT / "results" / "published"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return carry_out(tmp_path_factory.mktemp("results"), spec("end_to_end", {}))[0]


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer(preload_for_tasks(["classification"])) as server:
        yield server


class Shared:
    """Hands out the one server of this module: each imports torch."""

    def __init__(self, server: ForkServer) -> None:
        self._server = server

    def __enter__(self) -> ForkServer:
        return self._server

    def __exit__(self, *error: object) -> None:
        pass


@pytest.fixture
def rerun(
    server: ForkServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str]]:
    """The command in this process: its exit code and what it printed."""
    monkeypatch.setattr(command, "ForkServer", lambda preload: Shared(server))
    monkeypatch.chdir(tmp_path)

    def call(folder: Path, **options: Any) -> tuple[int, str]:
        given = {"out": None, "device": None, "tolerance": 1.0, "as_json": False, **options}
        with pytest.raises(typer.Exit) as ended:
            command.rerun(str(folder), **given)
        return ended.value.exit_code, capsys.readouterr().out

    return call


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "runs" / original.name
    return Path(shutil.copytree(original, folder))


def change_row(folder: Path, metric: str, change: Callable[[float], float], sign: bool) -> None:
    """Change a value; with ``sign`` the digest vouches for the changed file."""
    rows = [
        replace(row, value=change(row.value)) if row.metric == metric and row.value else row
        for row in read_rows(folder / "rows.csv")
    ]
    write_rows(folder / "rows.csv", rows)
    if sign:
        seal(folder)


@pytest.mark.slow
def test_a_run_repeats_bit_by_bit_and_its_files_stay_as_they_are(
    original: Path, rerun: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in original.rglob("*") if path.is_file()}
    code, text = rerun(original)
    assert code == 0, text
    assert "code, data, versions and device are those of the run" in text
    assert text.splitlines()[-1] == "The run and its repetition agree bit by bit."
    repeated = tmp_path / "results" / "reruns" / original.name / "runs" / original.name
    assert (repeated / "curve.csv").is_file()
    assert {path: path.read_bytes() for path in original.rglob("*") if path.is_file()} == before
    # Once more is a folder of its own, and a row that was changed is found; so is its file.
    copied = Path(shutil.copytree(original, tmp_path / "copy" / "runs" / original.name))
    change_row(copied, "nll", lambda value: value * (1 + 1e-15), sign=True)
    code, text = rerun(copied, as_json=True)
    found = json.loads(text)
    assert (code, found["verdict"], found["doubts"]) == (1, "differ", [])
    assert {each["metric"] for each in found["differing"]} == {"nll"}
    assert found["rerun"].startswith(f"results/reruns/{original.name}-2/runs/")


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="instruction sets of x86")
def test_on_another_instruction_set_a_run_agrees_within_noise_and_it_is_said(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    for name, value in limits.items():
        monkeypatch.setenv(name, value)
    done = depthbench("rerun", original, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "code, data, versions and device are those of the run" in lines
    assert any(re.match("other kernels: torch .* -> DEFAULT", line) for line in lines)
    assert "(kernels changed)" in lines[-1]
    assert "agree" in lines[-1]


def test_a_measured_value_that_was_changed_is_found_by_the_digest(copy: Path) -> None:
    change_row(copy, "train_time", lambda value: value / 2, sign=False)
    with pytest.raises(
        UserError, match=r"rows\.csv is not the file that the run wrote: restore it"
    ):
        command.rerun(str(copy), out=None, device=None, tolerance=1.0, as_json=False)


def test_a_changed_manifest_repeats_another_run_and_differs(
    copy: Path, rerun: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    change_manifest(copy, lambda manifest: manifest["spec"].update(seed=1))
    change_manifest(copy, lambda manifest: manifest["fingerprint"].update(threads=7))
    out = tmp_path / "out"
    code, text = rerun(copy, out=out, as_json=True)
    found = json.loads(text)
    assert code == 1
    assert "is not the one that its id was made from" in found["sentence"]
    assert [each["told"] for each in found["changed"]] == ["threads 7 -> 1"]
    assert found["bit_by_bit"] is False
    assert found["counted"]["equal"] == found["counted"]["of"]
    assert found["seeded"]["equal"] < found["seeded"]["of"]
    with pytest.raises(UserError, match="holds a repetition of this run already"):
        command.rerun(str(copy), out=out, device=None, tolerance=1.0, as_json=False)


def test_what_cannot_be_repeated_is_refused_before_anything_is_written(
    copy: Path, rerun: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    def refused(message: str, **options: Any) -> None:
        given = {"out": None, "device": None, "tolerance": 1.0, "as_json": False, **options}
        with pytest.raises(UserError, match=message):
            command.rerun(str(copy), **given)

    refused("'cuda:7' was requested", device="cuda:7")
    foreign = Path(shutil.copytree(PUBLISHED / "quickstart", tmp_path / "foreign"))
    refused("holds results of 'quickstart'", out=foreign)
    change_manifest(copy, lambda manifest: manifest["spec"].update(method="no_such_method"))
    refused("unknown method 'no_such_method'")
    change_manifest(copy, lambda manifest: manifest.update(status="running"))
    refused("is not finished")
    assert not (tmp_path / "results" / "reruns").exists()


def test_a_repetition_that_fails_says_why(
    copy: Path, rerun: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    # A learning rate at which the loss is no number after a few steps.
    change_manifest(copy, lambda m: m["spec"].update(recipe={"optimizer": {"lr": 1e30}}))
    with pytest.raises(UserError, match=r"the repetition failed: .*loss became .* its log is"):
        command.rerun(str(copy), out=tmp_path / "out", device=None, tolerance=1.0, as_json=False)


def test_commands_end_with_one_sentence_for_what_they_cannot_read(tmp_path: Path) -> None:
    assert "there is no run" in one_error(depthbench("show", tmp_path / "none"))
    assert "may be any of 15 runs" in one_error(depthbench("show", PUBLISHED / "quickstart"))
    assert "there is no run" in one_error(depthbench("rerun", tmp_path / "none"))


@pytest.mark.parametrize("verb", ["show", "rerun"])
def test_help_has_an_example(verb: str) -> None:
    done = depthbench(verb, "--help")
    assert done.returncode == 0
    assert f"Example: depthbench {verb} results/" in done.stdout


def test_explain_needs_neither_torch_nor_a_second(original: Path) -> None:
    script = (
        "import sys\nfrom benchmarks.cli import main\n"
        "try:\n    main()\nfinally:\n"
        "    heavy = {'torch', 'pandas', 'scipy', 'mmengine'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    for told in (original, PUBLISHED / "quickstart" / "digits-end_to_end-s0"):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", script, "show", str(told)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        for title in ("Quality", "Learning curve", "Time", "Energy", "Memory", "Repeat it"):
            assert f"\n{title}\n" in done.stdout
        assert "MISSES" not in done.stdout
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert spent < 1


def test_explain_json_is_the_document(original: Path) -> None:
    document = json.loads(depthbench("show", original, "--json").stdout)
    assert document["run_id"] == original.name
    assert document["state"] == "finished"
    assert document["id_holds"] is True
    assert document["time"][0]["verdict"] == "ok"
    assert document["curve"]["points"][-1]["batch"] == 6
