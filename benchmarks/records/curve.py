"""``curve.csv``: the validations of a run."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

from benchmarks.records import cells
from tasks.errors import UserError

_RENAMED = {"step": "batch"}
"""Columns of older runs."""
Point = dict[str, Any]
"""One validation: ``phase`` is text, all else a number or None."""


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
    columns = [_RENAMED.get(column, column) for column in columns]
    again = "is cut short or damaged: run its suite again"
    if not {"phase", "epoch", "batch"} <= set(columns):
        raise UserError(f"{path}:1: this is not a curve.csv of depthbench, or it {again}")
    if not text.endswith("\n"):
        raise UserError(f"{path}:{len(lines) + 1}: the file {again}")
    points = []
    for number, line in enumerate(lines, 2):
        try:
            cells_of = zip(columns, line, strict=True)
            points.append({column: _cell(column, text) for column, text in cells_of})
        except ValueError:
            raise UserError(f"{path}:{number}: the file {again}") from None
    return points


def _cell(column: str, text: str) -> Any:
    if column == "phase":
        return cells.read(text)
    if column in ("epoch", "batch"):
        return int(text)
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None
