"""What the fork server imports once, so that a run starts in milliseconds instead of seconds.

Names only: the parent process never imports them. Importing must create no CUDA context and no
thread pool, for neither survives a fork.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection
from pathlib import Path

from benchmarks.suites.document import suite_files
from tasks.base import TASKS

PRELOAD: tuple[str, ...] = (
    "numpy",
    "torch",
    "torchvision",
    "torch.utils.flop_counter",
    "mmengine.runner",
    "sklearn.datasets",
    "benchmarks.launch.planning",
    "benchmarks.engine.run",
    "tasks.classification",
    "methods.blocks",
)


def preload_for(suite: str) -> tuple[str, ...]:
    """The modules for a suite: a task's package may name more in a module ``preload``.

    The suite's text is searched, not read: reading it can take a method file, which imports torch.
    """
    text = ""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        text = suite_files().get(suite, Path(suite)).read_text(encoding="utf-8")
    names = {entry.name for entry in TASKS.entries()}
    return preload_for_tasks(
        [name for name in names if re.search(rf"\bname:\s*{re.escape(name)}\b", text)]
    )


def preload_for_tasks(names: Collection[str]) -> tuple[str, ...]:
    """The modules for tasks by name."""
    packages = {entry.module.rpartition(".")[0] for entry in TASKS.entries() if entry.name in names}
    return (*PRELOAD, *(f"{package}.preload" for package in sorted(packages) if package))
