"""The manifest: everything needed to say what a run was and to repeat it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
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
