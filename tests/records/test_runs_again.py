"""``depthbench run`` again: what is finished stays so until code that decides a number changes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from records.throwaway import change, write_package

from benchmarks.cli import run as command
from benchmarks.launch.local import ForkServer
from benchmarks.launch.preload import PRELOAD

SUITE = """\
name: again
profile: smoke
task: {task}
methods: {methods}
seeds: [0]
budget: {{steps: 2}}
device: cpu
threads: 1
"""
DIGITS = "{dataset: digits, arch: cifar_resnet8}"
Run = Callable[..., str]


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer(PRELOAD) as running:
        yield running


class Shared:
    """Hands out the one server of this module: each imports torch."""

    def __init__(self, server: ForkServer) -> None:
        self._server = server

    def __enter__(self) -> ForkServer:
        return self._server

    def __exit__(self, *error: object) -> None:
        pass


@pytest.fixture
def run(
    server: ForkServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """The command in this process, with runs in others: what it printed."""
    monkeypatch.setattr(command, "ForkServer", lambda preload: Shared(server))
    monkeypatch.chdir(tmp_path)

    def call(methods: str, task: str = DIGITS, **options: Any) -> str:
        suite = tmp_path / "suite.yaml"
        suite.write_text(SUITE.format(task=task, methods=methods))
        with contextlib.suppress(typer.Exit):  # exit code 1: a run failed
            command.run(str(suite), **{"results": Path("results"), "method_file": None, **options})
        return capsys.readouterr().out

    defaults = {"device": None, "budget": None, "seeds": None, "dry_run": False, "as_json": False}
    return lambda *given, **options: call(*given, **{**defaults, **options})


def test_a_helper_a_loss_and_a_composed_method_of_a_package_make_its_runs_run_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = write_package(tmp_path / "site")
    monkeypatch.syspath_prepend(str(package))
    suite = "[scaled, composed]", "{name: own_digits}"
    assert "[2/2]" in run(*suite)
    again = run(*suite)
    assert "2 of 2 runs are finished already" in again
    assert "[2/2]" not in again
    # A sentence decides nothing; training that cannot learn any more does.
    change(package / "others/inner/helper.py", "The loss, scaled.", "The scaled loss.")
    assert "2 of 2 runs are finished already" in run(*suite)
    change(package / "others/inner/helper.py", "SCALE = 1.0", "SCALE = 0.0")
    again = run(*suite)
    assert "finished already" not in again
    assert "[2/2]" in again
    change(package / "others/loss.py", "return 0.1", "return 0.9")
    assert "finished already" not in run(*suite)
    assert len(list(Path("results/runs").glob("own_digits*"))) == 0
    assert len(list(Path("results/runs").glob("digits-*-scaled-*"))) == 3


OWN = '''\
from beside import share
from methods import METHODS, Method


@METHODS.register("own")
class Own(Method):
    """Loses some of its first weights."""

    def prepare(self, model):
        from lazy.inner import half

        next(model.parameters()).data.mul_(share * half)
        return model
'''


def test_modules_beside_a_method_file_can_be_imported_and_decide_its_runs(
    run: Run, tmp_path: Path
) -> None:
    own = tmp_path / "elsewhere" / "own.py"
    (own.parent / "lazy").mkdir(parents=True)
    own.write_text(OWN)
    (own.parent / "beside.py").write_text("share = 0.5\n")
    (own.parent / "lazy" / "inner.py").write_text("half = 0.5\n")
    assert "[1/1]" in run("[own]", method_file=own)
    assert "1 of 1 runs are finished already" in run("[own]", method_file=own)
    (own.parent / "lazy" / "inner.py").write_text("half = 0.25\n")
    assert "finished already" not in run("[own]", method_file=own)
    (own.parent / "beside.py").write_text("share = 0.25\n")
    assert "finished already" not in run("[own]", method_file=own)


def test_code_that_changes_between_planning_and_a_run_fails_that_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.py"
    own.write_text(OWN.replace("from lazy.inner import half", "half = 0.5"))
    (tmp_path / "beside.py").write_text("share = 0.5\n")
    planned = command.plan_suite

    def then_change(*given: Any) -> Any:
        jobs = planned(*given)
        (tmp_path / "beside.py").write_text("share = 0.0\n")
        return jobs

    monkeypatch.setattr(command, "plan_suite", then_change)
    told = run("[own]", method_file=own)
    assert "failed: the code of the method and the method file changed after the run was" in told
    assert "0 of 1 runs are finished" in told


def test_a_run_half_done_under_other_code_starts_again_and_says_so(
    run: Run, tmp_path: Path
) -> None:
    own = tmp_path / "own.py"
    own.write_text(OWN.replace("from lazy.inner import half", "half = 0.5"))
    (tmp_path / "beside.py").write_text("share = 0.5\n")
    run("[own]", method_file=own)
    (manifest,) = Path("results/runs").glob("*/manifest.json")
    begun = {**json.loads(manifest.read_text()), "status": "running"}
    manifest.write_text(json.dumps(begun))
    assert "starts again" not in run("[own]", method_file=own), "the same code resumes"
    manifest.write_text(json.dumps(begun))
    (tmp_path / "beside.py").write_text("share = 0.25\n")
    told = run("[own]", method_file=own)
    assert (
        f"own seed 0: starts again: {begun['run_id']} was begun before a change of the code of the "
        "method, the method file"
    ) in told
    assert manifest.exists()
