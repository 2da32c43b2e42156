"""How far a run is: ``progress.json`` in its folder, written with each checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.records.files import read_json, write_json_atomic
from benchmarks.records.shapes import NUMBER, OPTIONAL_INT, Each, Keys

PROGRESS = "progress.json"
_SHAPE = Keys(
    {
        "phase": str,
        "phase_ended": bool,
        "batch": int,
        "batches": OPTIONAL_INT,
        "epoch": int,
        "epochs": OPTIONAL_INT,
        "finished": Each(Keys({"name": str, "batches": int}, ("name", "batches"))),
        "seconds": Each(Each(NUMBER, dict), dict),
        "curve": Each(
            Keys({"phase": str, "epoch": int, "batch": int}, ("phase", "epoch", "batch"))
        ),
    },
    ("phase", "phase_ended", "batch", "batches", "epoch", "epochs", "finished", "seconds", "curve"),
)


def write_progress(
    checkpoint: Path, saved: Mapping[str, Any], epoch: int, batches: int | None, per_epoch: int
) -> None:
    """Record how far the run is whose checkpoint was just written.

    A resumed run starts from the checkpoint, so the two are of the same moment. The file is small
    and no more than a checkpoint's own time apart from the last one.

    Args:
        checkpoint: the file, ``RUN/checkpoints/latest.pth``.
        saved: what it holds.
        epoch: of the phase, from 1: the one under way, or the last one.
        batches: of the whole phase, a forecast where a meter ends it; None where
            it is not known yet.
        per_epoch: batches in an epoch.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    state, ended = saved["depthbench"], bool(saved.get("phase_done"))
    finished = [{"name": each["name"], "batches": each["batches"]} for each in state["finished"]]
    progress = {
        "phase": state["phase"],
        "phase_ended": ended,
        "batch": finished[-1]["batches"] if ended else saved["meta"]["iter"],
        "batches": batches,
        "epoch": epoch,
        "epochs": None if batches is None else math.ceil(batches / per_epoch),
        "finished": finished,
        "seconds": saved["meters"]["clock"]["seconds"],
        "curve": state["curve"],
    }
    write_json_atomic(checkpoint.parents[1] / PROGRESS, progress)


def read_progress(folder: Path) -> dict[str, Any] | None:
    """What :func:`write_progress` has written; None where there is no file.

    Raises:
        UserError: it cannot be read, is cut short or damaged; names the key.
    """
    return read_json(folder / PROGRESS, _SHAPE)
