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
from pathlib import Path
from typing import Any

import pytest
from end_to_end.end_to_end_helpers import command, scores, write_suite

SLOW = """\
import os
import time
from pathlib import Path

from methods import METHODS
from methods.stochastic_depth import StochasticDepth


@METHODS.register("slow")
class Slow(StochasticDepth):
    steps = 0

    def train_step(self, model, data, optim_wrapper):
        begun = any(Path.cwd().glob("*/runs/*/checkpoints"))
        self.steps += begun
        if self.steps > 2 and "DAWDLE" in os.environ:
            Path("slow").write_text("")
            time.sleep(float(os.environ["DAWDLE"]))
        return super().train_step(model, data, optim_wrapper)
"""


def suite(folder: Path, **changes: str) -> Path:
    (folder / "slow.py").write_text(SLOW)
    return write_suite(
        folder,
        methods="[slow]",
        task="{dataset: digits, arch: {name: cifar_resnet8, width: 8}}",
        recipe="{batch_size: 64}",
        budget="{epochs: 2}",
        **changes,
    )


def start(folder: Path, results: str, step: float, **options: Any) -> subprocess.Popen[str]:
    arguments = ["run", "tiny.yaml", "--method-file", "slow.py", "--results", str(folder / results)]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=folder,
        env={**os.environ, "DAWDLE": str(step), "COLUMNS": "200"},
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def wait_for_a_step(process: subprocess.Popen[str]) -> None:
    """Wait until the run is in one of its slow steps."""
    sign = Path(str(process.args[-1])).parent / "slow"
    end = time.monotonic() + 120
    while not sign.exists():
        assert process.poll() is None, "the command ended before it could be stopped"
        assert time.monotonic() < end, "the moment to stop never came"
        time.sleep(0.02)
    sign.unlink()


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_rows(tmp_path: Path) -> None:
    suite(tmp_path)
    process = start(tmp_path, "cut", 0.5)
    wait_for_a_step(process)
    process.send_signal(signal.SIGTERM)
    out, told = process.communicate(timeout=60)
    (saved,) = (tmp_path / "cut").glob("runs/*/checkpoints/latest.pth")
    assert time.time() - saved.stat().st_mtime < 5
    assert process.returncode == 128 + signal.SIGTERM, out + told
    assert "Traceback" not in out + told
    assert "stopping after its training step" in out
    found = re.fullmatch(
        r"stopped by SIGTERM: checkpoint at batch (\d+) of phase train; 0 of 1 runs are finished; "
        r"the same command resumes",
        told.splitlines()[-1],
    )
    assert found, told
    assert int(found[1]) > 0
    run = ("run", "tiny.yaml", "--method-file", "slow.py", "--results")
    again = command(*run, "cut", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "resumed in phase 'train'" in again.stdout
    assert command(*run, "whole", cwd=tmp_path).returncode == 0
    assert scores(tmp_path / "cut") == scores(tmp_path / "whole")


@pytest.mark.slow
def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    suite(tmp_path)
    process = start(tmp_path, "cut", 30)
    wait_for_a_step(process)
    process.send_signal(signal.SIGUSR2)
    time.sleep(0.5)
    assert process.poll() is None, "it did not wait for the step"
    asked = time.monotonic()
    process.send_signal(signal.SIGUSR2)
    process.communicate(timeout=30)
    assert time.monotonic() - asked < 3
    assert process.returncode == 128 + signal.SIGUSR2


@pytest.mark.slow
def test_a_signal_to_all_processes_or_to_the_runs_own_is_heeded(tmp_path: Path) -> None:
    suite(tmp_path)
    for everybody in (True, False):
        process = start(tmp_path, "cut", 0.3)
        wait_for_a_step(process)
        server = children(process.pid)
        (run,) = [pid for each in server for pid in children(each)]
        for pid in [process.pid, *server, run] if everybody else [run]:
            os.kill(pid, signal.SIGUSR1)
        out, told = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGUSR1, out + told
        assert "checkpoint at batch" in told
        shutil.rmtree(tmp_path / "cut")


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in listed.split()]


@pytest.mark.slow
def test_a_closed_terminal_is_no_crash(tmp_path: Path) -> None:
    suite(tmp_path)
    ours, theirs = pty.openpty()
    process = start(
        tmp_path, "terminal", 0.5, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    wait_for_a_step(process)
    os.close(ours)  # the terminal's window is closed
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=30) == 128 + signal.SIGHUP
    assert any((tmp_path / "terminal").glob("runs/*/checkpoints/latest.pth"))
