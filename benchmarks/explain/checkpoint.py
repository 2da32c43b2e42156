"""How far a checkpoint is, without torch: its records are plain, only its tensors are not.

A ``.pth`` file is a zip archive: ``data.pkl`` holds the structure, and every tensor's bytes are a
member of their own, which is never opened here.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tasks.files.inert import InertUnpickler


@dataclass(frozen=True)
class Progress:
    """What a checkpoint says of its run.

    Attributes:
        path: the file.
        size: in bytes.
        written: the file's time in UTC, to the second.
        problem: why it cannot be read; empty where it can, and then the rest is known.
        phase: of training, under way or just ended.
        step: batches of that phase so far.
        ended: whether the phase has come to its end.
        finished: name and batches of the phases before, and of an ended one.
        curve: the validations so far, as ``curve.csv`` would hold them.
        seconds: by phase and window, up to the checkpoint.
    """

    path: Path
    size: int
    written: str
    problem: str = ""
    phase: str = ""
    step: int = 0
    ended: bool = False
    finished: tuple[tuple[str, int], ...] = ()
    curve: tuple[dict[str, Any], ...] = ()
    seconds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def read_progress(path: Path) -> Progress | None:
    """The progress that a checkpoint holds; None where there is no file."""
    try:
        facts = path.stat()
    except OSError:
        return None
    written = datetime.fromtimestamp(facts.st_mtime, timezone.utc).isoformat(timespec="seconds")
    known = Progress(path, facts.st_size, written)
    try:
        return _progress(known, _records(path))
    except Exception as error:  # whatever a damaged archive makes of the readers
        told = " ".join(str(error).split()) or type(error).__name__
        return Progress(path, facts.st_size, written, f"it is damaged or cut short ({told[:100]})")


def _progress(known: Progress, saved: Mapping[str, Any]) -> Progress:
    state, ended = saved["depthbench"], bool(saved.get("phase_done"))
    finished = tuple((str(each["name"]), int(each["steps"])) for each in state["finished"])
    return Progress(
        known.path,
        known.size,
        known.written,
        phase=str(state["phase"]),
        step=finished[-1][1] if ended else int(saved["meta"]["iter"]),
        ended=ended,
        finished=finished,
        curve=tuple({k: _plain(v) for k, v in point.items()} for point in state["curve"]),
        seconds=saved["meters"]["clock"]["seconds"],
    )


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else None


def _records(path: Path) -> Mapping[str, Any]:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        with archive.open(names[0]) as file:
            records = InertUnpickler(file).load()
    if not isinstance(records, Mapping):
        raise TypeError("it holds no mapping")
    return records
