"""``rows.csv`` of a results folder: an index, made of the runs' own rows and never believed.

The runs' own rows are what is shown. The index is for people and other programs, and it is held to
the runs before anything is read: one that differs was edited, cut or replaced.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.records.row import COLUMNS, Row
from benchmarks.records.rows import HEADER, format_rows, parse_rows
from benchmarks.records.verification import REWRITE, ROWS, DamagedError, Record
from tasks.errors import UserError

Entry = tuple[str, str]
"""A run's id and the label that it bears: one run may be there under two."""

_HEADER = HEADER.encode("utf-8")


def lines_of(record: Record, label: str) -> bytes:
    """The lines of a run in the index, under a label: it is no part of a run, and may have changed.

    Raises:
        UserError: the run's rows are not a file of rows.
    """
    lines = record.content.removeprefix(_HEADER)
    if not label or first_cell(record, "method") == label:
        return lines
    rows = [replace(row, method=label) for row in record.rows()]
    return format_rows(rows).encode("utf-8").removeprefix(_HEADER)


def first_cell(record: Record, column: str) -> str:
    """What the first row of a run has in a column; empty where it has no rows."""
    second = record.content.split(b"\n", 2)[1:2]
    cells = next(csv.reader([line.decode("utf-8", "replace") for line in second]), [])
    return "".join(cells[COLUMNS.index(column) :][:1])


def index_of(lines: Mapping[Entry, bytes]) -> str:
    """The text of the index."""
    return (_HEADER + b"".join(lines.values())).decode("utf-8")


def check_index(path: Path, content: bytes, lines: Mapping[Entry, bytes], runs: Path) -> None:
    """Compare an index with the lines of its runs.

    Args:
        path: of the index, for messages.
        content: of the index.
        lines: of :func:`lines_of`, in order.
        runs: the folder of the runs.

    Raises:
        DamagedError: they differ; names the first run that does.
    """
    if content == _HEADER + b"".join(lines.values()):
        return
    try:
        found = grouped(parse_rows(content, str(path)))
    except UserError as error:
        raise DamagedError(str(error), REWRITE) from error
    known = {run_id for run_id, _ in lines}
    for run_id, _ in found:
        if run_id not in known:
            raise DamagedError(
                f"{path} holds rows of the run {run_id}, which has no results in {runs} or is not "
                "in the plan",
                REWRITE,
            )
    for run_id, label in lines:
        if lines[run_id, label] and (run_id, label) not in found:
            raise DamagedError(f"{path} lacks the rows of the run {run_id} ({label})", REWRITE)
    for entry, rows in found.items():
        if format_rows(rows).encode("utf-8").removeprefix(_HEADER) != lines.get(entry):
            raise DamagedError(
                f"{path} has other rows of the run {entry[0]} ({entry[1]}) than "
                f"{runs / entry[0] / ROWS}",
                REWRITE,
            )
    raise DamagedError(f"{path} has the rows of its runs in another order", REWRITE)


def grouped(rows: Sequence[Row]) -> dict[Entry, list[Row]]:
    """Rows by run and label, in order."""
    found: dict[Entry, list[Row]] = {}
    for row in rows:
        found.setdefault((row.run_id, row.method), []).append(row)
    return found
