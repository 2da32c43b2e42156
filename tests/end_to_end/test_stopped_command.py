"""The command told to stop: it says where it can go on, and goes on from there to the same rows."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from end_to_end.end_to_end_helpers import command, scores, write_suite
from end_to_end.test_interrupted_suite import DAWDLING

SMALL = (
    "{name: %s, dataset: {name: digit_scenes, train: 8, val: 4, size: 64}, arch: %s, "
    "schedule: small}"
)
TASKS = {
    "classification": "{dataset: digits, arch: {name: cifar_resnet8, width: 8}}",
    "detection": SMALL % ("detection", "retinanet_tiny"),
    "segmentation": SMALL % ("segmentation", "pspnet_tiny"),
}


def suite(folder: Path, family: str = "classification", **changes: str) -> Path:
    (folder / "dawdling.py").write_text(DAWDLING)
    batch = {"classification": 64}.get(family, 2)
    return write_suite(
        folder,
        methods="[dawdling]",
        task=TASKS[family],
        recipe=f"{{batch_size: {batch}}}",
        budget="{epochs: 2}",
        **changes,
    )


def start(folder: Path, results: str, step: float, **options: Any) -> subprocess.Popen[str]:
    arguments = ["run", "tiny.yaml", "--method-file", "dawdling.py", "--results", results]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=folder,
        env={**os.environ, "DAWDLE": str(step), "COLUMNS": "200"},
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def wait_for(process: subprocess.Popen[str], condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the command ended before it could be stopped"
        assert time.monotonic() < end, "the moment to stop never came"
        time.sleep(0.05)


def training(results: Path) -> bool:
    """Whether a run has begun its steps: mmengine's folder is made just before."""
    return any(results.glob("runs/*/mmengine/*"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The results of a suite that nothing stopped, by family."""
    made: dict[str, Path] = {}

    def results(family: str) -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            suite(folder, family)
            done = command(
                "run", "tiny.yaml", "--method-file", "dawdling.py", "--results", "out", cwd=folder
            )
            assert done.returncode == 0, done.stderr
            made[family] = folder / "out"
        return made[family]

    return results


CASES = [
    ("classification", signal.SIGTERM),
    ("classification", signal.SIGHUP),
    ("classification", signal.SIGUSR1),
    ("classification", signal.SIGUSR2),
    ("classification", signal.SIGINT),
    ("detection", signal.SIGTERM),
    ("segmentation", signal.SIGTERM),
]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "number"), CASES)
def test_a_stopped_run_goes_on_to_the_same_rows(
    tmp_path: Path, whole: Callable[[str], Path], family: str, number: signal.Signals
) -> None:
    suite(tmp_path, family)
    process = start(tmp_path, "cut", 0.5)
    wait_for(process, lambda: training(tmp_path / "cut"))
    time.sleep(1.2)
    asked = time.monotonic()
    process.send_signal(number)
    out, told = process.communicate(timeout=60)
    assert time.monotonic() - asked < 0.5 + 5
    assert process.returncode == 128 + number, out + told
    assert "Traceback" not in out + told
    assert "stopping after its training step" in out
    by = "" if number == signal.SIGINT else f" by {number.name}"
    (line,) = told.splitlines()[-1:]
    found = re.fullmatch(
        rf"stopped{by}: checkpoint at step (\d+) of phase train; 0 of 1 runs are finished; the "
        "same command goes on from here",
        line,
    )
    assert found, told
    assert int(found[1]) > 0
    again = command(
        "run", "tiny.yaml", "--method-file", "dawdling.py", "--results", "cut", cwd=tmp_path
    )
    assert again.returncode == 0, again.stderr
    assert "resumed in phase 'train'" in again.stdout
    assert scores(tmp_path / "cut") == scores(whole(family))


@pytest.mark.slow
def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    suite(tmp_path)
    process = start(tmp_path, "cut", 30)
    wait_for(process, lambda: training(tmp_path / "cut"))
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None, "it did not wait for the step"
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert time.monotonic() - asked < 3
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.slow
def test_a_signal_to_all_processes_or_to_the_runs_own_is_heeded(tmp_path: Path) -> None:
    suite(tmp_path)
    for everybody in (True, False):
        process = start(tmp_path, "cut", 0.5)
        wait_for(process, lambda: training(tmp_path / "cut"))
        time.sleep(1.2)
        server = children(process.pid)
        (run,) = [pid for each in server for pid in children(each)]
        for pid in [process.pid, *server, run] if everybody else [run]:
            os.kill(pid, signal.SIGUSR1)
        out, told = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGUSR1, out + told
        assert "checkpoint at step" in told
        shutil.rmtree(tmp_path / "cut")


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in listed.split()]


@pytest.mark.slow
def test_what_nohup_ignores_is_ignored_and_a_closed_terminal_is_no_crash(tmp_path: Path) -> None:
    suite(tmp_path)
    process = start(
        tmp_path, "cut", 0, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    wait_for(process, lambda: (tmp_path / "cut" / "runs").exists())
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=120) == 0
    ours, theirs = pty.openpty()
    process = start(
        tmp_path, "terminal", 0.5, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    wait_for(process, lambda: training(tmp_path / "terminal"))
    time.sleep(1)
    os.close(ours)  # the terminal's window is closed
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=30) == 128 + signal.SIGHUP
    assert any((tmp_path / "terminal").glob("runs/*/checkpoints/latest.pth"))


@pytest.mark.slow
@pytest.mark.parametrize("when", ["training", "between"])
def test_a_results_folder_that_vanishes_is_an_error(tmp_path: Path, when: str) -> None:
    suite(tmp_path, seeds="[0, 1]")
    process = start(tmp_path, "gone", 0.1)
    finished = "[1/2]"
    wait_for(
        process,
        lambda: (
            training(tmp_path / "gone")
            if when == "training"
            else any((tmp_path / "gone").glob("runs/*/digest.json"))
        ),
    )
    shutil.move(tmp_path / "gone", tmp_path / "elsewhere")
    out, told = process.communicate(timeout=120)
    assert process.returncode not in (0, 128 + signal.SIGTERM), out + told
    assert "Traceback" not in out + told
    assert "gone" in out + told
    assert finished or when
    assert not (tmp_path / "gone").exists(), "nothing is made anew where the folder was"
