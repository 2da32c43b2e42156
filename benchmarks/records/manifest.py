"""The manifest: everything needed to say what a run was and to repeat it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import benchmarks


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def git_state(folder: Path) -> dict[str, Any]:
    """Commit and dirty flag of the checkout that tracks ``folder``; None where none does.

    An environment inside some other project's checkout is not tracked by it.
    """
    try:
        _git(folder, "ls-files", "--error-unmatch", str(folder / "manifest.py"))
        commit = _git(folder, "rev-parse", "HEAD")
        # Results that a run writes into the checkout are untracked, and change no number.
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
        return {"commit": commit, "dirty": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def environment() -> dict[str, Any]:
    """Interpreter, operating system and every installed package with its version."""
    packages = {d.metadata["Name"]: d.version for d in distributions() if d.metadata["Name"]}
    return {
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "packages": dict(sorted(packages.items())),
        "git": git_state(Path(str(benchmarks.__file__)).parent),
        "depthbench": benchmarks.__version__,
    }


PRECISION = ("TF32 of matrix products", "TF32 of convolutions", "float32 matmul precision")
"""Those of :func:`kernels_of` that decide how many digits a product has."""


def kernels_of(device: Mapping[str, Any]) -> dict[str, str]:
    """What a run was computed with, by what computes; facts that its manifest lacks are absent.

    Two runs of one id whose kernels differ need not agree bit by bit.

    Args:
        device: the manifest's section ``device``, of
            :func:`benchmarks.meters.device.describe_device`.
    """
    sets, tf32 = device.get("instruction_set"), device.get("tf32")
    sets = sets if isinstance(sets, Mapping) else {}
    tf32 = tf32 if isinstance(tf32, Mapping) else {"matmul": tf32}
    facts: dict[str, Any] = {}
    if device.get("type") == "cpu":
        facts |= {
            "torch": sets.get("torch"),
            "oneDNN": sets.get("onednn"),
            "MKL": sets.get("mkl"),
            "BLAS": device.get("blas"),
        }
    else:
        facts |= {
            "CUDA": device.get("cuda"),
            "cuDNN": device.get("cudnn"),
            "cuDNN benchmark": device.get("cudnn_benchmark"),
            "cuDNN deterministic": device.get("cudnn_deterministic"),
            "deterministic algorithms": device.get("deterministic_algorithms"),
            "TF32 of matrix products": tf32.get("matmul"),
            "TF32 of convolutions": tf32.get("convolutions"),
        }
    facts["float32 matmul precision"] = device.get("float32_matmul_precision")
    return {name: str(value) for name, value in facts.items() if value is not None}


class Segments:
    """The stretches of work that make up a run, one a process, kept across interruptions.

    Args:
        earlier: the segments of earlier processes, as the manifest holds them.
    """

    def __init__(self, earlier: list[dict[str, Any]]) -> None:
        self._earlier = [
            {**segment, "ended": segment["ended"] or "interrupted"} for segment in earlier
        ]
        self._current: dict[str, Any] = {"started": now(), "ended": None, "pid": os.getpid()}
        self._clock = time.monotonic()

    def listed(self) -> list[dict[str, Any]]:
        """All segments, with the one under way last."""
        return [*self._earlier, self._current]

    def close(self) -> None:
        """End the segment under way."""
        self._current["ended"] = now()
        self._current["seconds"] = round(time.monotonic() - self._clock, 3)
