"""A run folder, read once: manifest, rows, curve, checkpoint and the end of the log."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.analysis.columns import QUALITIES
from benchmarks.records.curve import Point, read_curve
from benchmarks.records.progress import PROGRESS, read_progress
from benchmarks.records.row import Row, declare_metric, declare_stored
from benchmarks.records.run_folder import find_run, require_named
from benchmarks.records.verification import CURVE, FINISHED, read_manifest, read_record
from tasks.errors import UserError

LOG_LINES = 6
_NO_METRIC = ("phase", "epoch", "batch", "seconds", "joules", "train_flops", "lr", "train_loss")
"""Columns of a curve that are no metric of the task."""


@dataclass(frozen=True)
class RunFolder:
    """What the folder of a run holds.

    Attributes:
        folder: where it is.
        manifest: as it was written.
        rows: none while the run is not finished; of a failed one, the row that says why.
        curve: the validations; of an unfinished run those up to its checkpoint.
        curve_missing: why there is no curve; empty where there is one.
        checkpoint: path, size and time of the last checkpoint, ``problem``, and where that is
            empty what :mod:`benchmarks.records.progress` says; None where there is no checkpoint.
        log: the last lines of the log.
        verified: whether the records were compared with their digest; True where the run has not
            ended, and so has no digest.
    """

    folder: Path
    manifest: Mapping[str, Any]
    rows: tuple[Row, ...]
    curve: tuple[Point, ...]
    curve_missing: str
    checkpoint: Mapping[str, Any] | None
    log: tuple[str, ...]
    verified: bool = True

    @property
    def state(self) -> str:
        """``finished``, ``failed`` or ``running``."""
        return str(self.manifest["status"])

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.state == FINISHED

    @property
    def phases(self) -> list[dict[str, Any]]:
        """Name and batches of the phases of training that have ended."""
        if self.finished or self.checkpoint is None:
            return [{"name": p["name"], "batches": p["batches"]} for p in self.listed("phases")]
        return list(self.checkpoint.get("finished", ()))

    def part(self, *path: str) -> Mapping[str, Any]:
        """A mapping inside the manifest; an empty one where it is absent."""
        found: Any = self.manifest
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    def listed(self, key: str) -> list[Mapping[str, Any]]:
        """A list of mappings in the manifest; an empty one where it is absent."""
        return list(self.manifest.get(key) or ())

    def row(self, metric: str, phase: str) -> Row | None:
        """The row of a metric of the whole run in a phase."""
        return self._rows.get((metric, phase))

    def value(self, metric: str, *phases: str) -> float | None:
        """The sum of a metric over phases; None where no phase has a value."""
        rows = [row for phase in phases if (row := self.row(metric, phase)) is not None]
        values = [row.value for row in rows if row.value is not None]
        return sum(values) if values else None

    @cached_property
    def _rows(self) -> dict[tuple[str, str], Row]:
        return {(row.metric, row.phase): row for row in self.rows if not row.variant}

    @cached_property
    def headline(self) -> str:
        """The metric that validation chose by; empty where nothing tells."""
        if self.manifest.get("headline"):
            return str(self.manifest["headline"])
        judged = [row.metric for row in self.rows if row.phase in ("val", "test")]
        names = [*judged, *(key for point in self.curve[:1] for key in point)]
        names = [name for name in names if name not in _NO_METRIC]
        return next((name for name in QUALITIES if name in names), names[0] if names else "")


def read_run(run: str | Path) -> RunFolder:
    """Read the folder of a run.

    Args:
        run: see :func:`benchmarks.records.run_folder.find_run`.

    Raises:
        UserError: no run is meant, or a file of it is cut short, damaged or changed.
    """
    folder = find_run(run)
    record = read_record(folder)
    manifest = read_manifest(folder) if record is None else record.manifest
    if manifest is None or "spec" not in manifest:
        raise UserError(f"{folder} is not the folder of a run: its manifest names no 'spec'")
    require_named(folder, manifest)
    declare_stored(manifest)
    rows = [] if record is None else record.rows()
    for row in rows:
        declare_metric(row.metric, row.unit)
    checkpoint = _checkpoint(folder)
    if manifest["status"] == FINISHED:
        curve = read_curve(folder / CURVE)
        missing = "" if curve is not None else f"{folder / CURVE} is not there"
    else:
        saved: Iterable[Point] = (checkpoint or {}).get("curve", ())
        curve = [_point(point) for point in saved]
        missing = "" if curve else "no validation has been saved yet"
    verified = record is None or record.verified
    log = _log(folder / "log.txt")
    return RunFolder(
        folder, manifest, tuple(rows), tuple(curve or ()), missing, checkpoint, log, verified
    )


def _point(point: Point) -> Point:
    """Its numbers; JSON has text for those that are not finite."""
    return {k: v if k == "phase" or isinstance(v, int | float) else None for k, v in point.items()}


def _checkpoint(folder: Path) -> dict[str, Any] | None:
    path = folder / "checkpoints" / "latest.pth"
    try:
        facts = path.stat()
    except OSError:
        return None
    written = datetime.fromtimestamp(facts.st_mtime, timezone.utc).isoformat(timespec="seconds")
    found = {"path": str(path), "size": facts.st_size, "written": written, "problem": ""}
    if not zipfile.is_zipfile(path):
        return {**found, "problem": "is cut short or damaged: the run starts over"}
    try:
        progress = read_progress(folder)
    except UserError as error:
        return {**found, "problem": f"is at an unknown step: {error}"}
    if progress is None:
        return {**found, "problem": f"is at an unknown step: {folder / PROGRESS} is not there"}
    return {**found, **progress}


def _log(path: Path) -> tuple[str, ...]:
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 20_000))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ()
    return tuple(line.rstrip() for line in lines if line.strip())[-LOG_LINES:]
