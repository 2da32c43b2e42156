"""The installed command on small real suites."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import time
from pathlib import Path

import warm

SUITE = """\
name: tiny
profile: smoke
task: {dataset: digits, arch: cifar_resnet8}
methods: [end_to_end]
seeds: [0]
budget: {epochs: 1}
device: cpu
threads: 1
"""


def command(*arguments: str, cwd: Path, env: dict[str, str] | None = None):
    """Run ``depthbench`` to its end; stdout and stderr apart."""
    return warm.run(*arguments, cwd=cwd, env={**os.environ, "COLUMNS": "200", **(env or {})})


def write_suite(folder: Path, **changes: str) -> Path:
    """A suite file; each change replaces the line of its key or adds one."""
    lines = dict(line.split(":", 1) for line in SUITE.splitlines())
    lines |= {key: f" {value}" for key, value in changes.items()}
    path = folder / "tiny.yaml"
    path.write_text("".join(f"{key}:{value}\n" for key, value in lines.items()))
    return path


def rows(results: Path) -> list[dict[str, str]]:
    with open(results / "rows.csv", newline="") as file:
        return list(csv.DictReader(file))


def scores(results: Path) -> dict[tuple[str, ...], str]:
    """Everything that must not depend on when a run was interrupted."""
    timed = ("s", "J", "images/s")
    return {
        tuple(row[k] for k in ("run_id", "variant", "phase", "metric")): row["value"]
        for row in rows(results)
        if row["unit"] not in timed and not row["metric"].startswith("mem_peak")
    }


def kill_when(process: subprocess.Popen, condition, timeout: float = 120) -> None:
    """SIGKILL the process once the condition holds."""
    end = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, "the command ended before it could be killed"
        assert time.monotonic() < end, "the moment to kill never came"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
