"""A run folder, read once: manifest, rows, curve, checkpoint and the end of the log."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import cells
from benchmarks.explain.checkpoint import Progress, read_progress
from benchmarks.records import OK, Row, declare_metric
from benchmarks.report.columns import QUALITIES
from benchmarks.run_folder import find_run, require_named
from benchmarks.verification import CURVE, FINISHED, read_manifest, read_record
from tasks.errors import UserError

LOG_LINES = 6
_NO_METRIC = ("phase", "epoch", "step", "seconds", "joules", "train_flops", "lr", "train_loss")
"""Columns of a curve that are no metric of the task."""

Point = dict[str, Any]
"""One validation: ``phase`` is text, all else a number or None."""


@dataclass(frozen=True)
class Subject:
    """A run as its folder tells it.

    Attributes:
        folder: where it lies.
        manifest: as it was written.
        rows: none while the run is not finished; of a failed one, the row that says why.
        curve: the validations; of an unfinished run those up to its checkpoint.
        curve_missing: why there is no curve; empty where there is one.
        progress: the last checkpoint; None where there is none.
        log: the last lines of the log.
        verified: whether the records were compared with their digest; True while there is none to
            be had, as the run is not finished.
    """

    folder: Path
    manifest: Mapping[str, Any]
    rows: tuple[Row, ...]
    curve: tuple[Point, ...]
    curve_missing: str
    progress: Progress | None
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
    def run_id(self) -> str:
        """The run's id."""
        return str(self.manifest.get("run_id") or self.folder.name)

    def part(self, *path: str) -> Mapping[str, Any]:
        """A mapping inside the manifest; an empty one where it is absent."""
        found: Any = self.manifest
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    def listed(self, key: str) -> list[Mapping[str, Any]]:
        """A list of mappings in the manifest; an empty one where it is absent."""
        found = self.manifest.get(key)
        if not isinstance(found, list):
            return []
        return [each for each in found if isinstance(each, Mapping)]

    @property
    def phases(self) -> list[tuple[str, int]]:
        """Name and batches of the phases of training that have ended."""
        if self.finished or self.progress is None:
            return [(str(p.get("name")), int(p.get("steps") or 0)) for p in self.listed("phases")]
        return list(self.progress.finished)

    def row(self, metric: str, phase: str, variant: str = "") -> Row | None:
        """The row of a metric in a phase."""
        return self._rows.get((metric, phase, variant))

    def value(self, metric: str, phase: str, variant: str = "") -> float | None:
        """Its value; None where there is none."""
        row = self.row(metric, phase, variant)
        return None if row is None else row.value

    @cached_property
    def _rows(self) -> dict[tuple[str, str, str], Row]:
        return {(row.metric, row.phase, row.variant): row for row in self.rows}

    @cached_property
    def headline(self) -> str:
        """The metric that validation chose by; empty where nothing tells."""
        if self.manifest.get("headline"):
            return str(self.manifest["headline"])
        judged = [row.metric for row in self.rows if row.phase in ("val", "test")]
        names = [*judged, *(key for point in self.curve[:1] for key in point)]
        names = [name for name in names if name not in _NO_METRIC]
        return next((name for name in QUALITIES if name in names), names[0] if names else "")


def read_subject(told: str | Path) -> Subject:
    """Read the folder of a run.

    Args:
        told: see :func:`benchmarks.run_folder.find_run`.

    Raises:
        UserError: no run is meant, or a file of it is cut short, damaged or changed.
    """
    folder = find_run(told)
    record = read_record(folder)
    manifest = read_manifest(folder) if record is None else record.manifest
    if manifest is None or "spec" not in manifest:
        raise UserError(f"{folder} is not the folder of a run: its manifest names no 'spec'")
    require_named(folder, manifest)
    rows = [] if record is None else record.rows()
    for row in rows:
        declare_metric(row.metric, row.unit)
    progress = read_progress(folder / "checkpoints" / "latest.pth")
    if manifest["status"] == FINISHED:
        path = folder / CURVE
        curve = read_curve(path)
        missing = "" if curve is not None else f"{path} is not there"
    else:
        curve = None if progress is None or progress.problem else list(progress.curve)
        missing = "" if curve else "no validation has been saved yet"
    return Subject(
        folder,
        manifest,
        tuple(rows),
        tuple(curve or ()),
        missing,
        progress,
        _log(folder),
        record is None or record.verified,
    )


def read_curve(path: Path) -> list[Point] | None:
    """The validations of a ``curve.csv``; None where there is no file.

    Raises:
        UserError: it is cut short or damaged; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if not text.strip():
        return []
    columns, *lines = csv.reader(io.StringIO(text, newline=""))
    again = "is cut short or damaged: run its suite again"
    if not {"phase", "epoch", "step"} <= set(columns):
        raise UserError(f"{path}:1: this is not a curve.csv of depthbench, or it {again}")
    if not text.endswith("\n"):
        raise UserError(f"{path}:{len(lines) + 1}: the file {again}")
    points = []
    for number, line in enumerate(lines, 2):
        try:
            if len(line) != len(columns):
                raise ValueError
            points.append(dict(zip(columns, map(_cell, columns, line), strict=True)))
        except ValueError:
            raise UserError(f"{path}:{number}: the file {again}") from None
    return points


def _cell(column: str, text: str) -> Any:
    if column == "phase":
        return cells.read(text)
    if column in ("epoch", "step"):
        return int(text)
    value = float(text) if text else None
    return None if value is None or not math.isfinite(value) else value


def _log(folder: Path) -> tuple[str, ...]:
    try:
        with open(folder / "log.txt", "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 20_000))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ()
    return tuple(line.rstrip() for line in lines if line.strip())[-LOG_LINES:]


def measured(row: Row | None) -> float | None:
    """A row's value if it was measured."""
    return row.value if row is not None and row.status == OK else None
