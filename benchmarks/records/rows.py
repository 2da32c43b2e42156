"""Rows as CSV text and back, exactly: floats keep every bit, and nothing cut short passes."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from benchmarks.records import cells
from benchmarks.records.row import COLUMNS, FAILED, OK, UNAVAILABLE, Row
from tasks.errors import UserError

HEADER = ",".join(COLUMNS) + "\n"
"""The first line of every ``rows.csv``."""

_ESCAPED = re.compile("""[,\n"]'""")
"""A cell that begins with an apostrophe: few files have one."""
_SEED, _VALUE, _STATUS = map(COLUMNS.index, ("seed", "value", "status"))


def format_rows(rows: Iterable[Row]) -> str:
    """The text of a ``rows.csv``: a missing value is an empty field."""
    lines = [HEADER]
    for row in rows:
        # Not as_dict(): it copies deeply, which would take most of the time of a large table.
        values = dict(vars(row))
        values["value"] = "" if row.value is None else repr(float(row.value))
        lines.append(",".join(_field(str(value)) for value in values.values()) + "\n")
    return "".join(lines)


def parse_rows(
    content: bytes, source: str, keep: Callable[[Sequence[str]], bool] | None = None
) -> list[Row]:
    """The rows of a file's content.

    Args:
        content: the whole file.
        source: the file name that errors name.
        keep: whether a line is wanted, by its cells in the order of ``COLUMNS``; the others are
            only counted, which saves most of the time where few are wanted.

    Raises:
        UserError: it is not the text of :func:`format_rows`; says which line.
    """

    def fail(line: int, message: str) -> UserError:
        return UserError(f"{source}:{line}: {message}")

    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise fail(line, "this is not UTF-8 text, so the file is damaged or cut short") from error
    last = text.count("\n") + 1
    if not text.startswith(HEADER):
        if HEADER.startswith(text):
            raise fail(last, "the file is cut short")
        raise fail(1, f"this is not a rows.csv of depthbench: the header must be {HEADER.strip()}")
    if not text.endswith("\n"):
        raise fail(last, "the last line is cut short")
    escaped = _ESCAPED.search(text) is not None
    rows: list[Row] = []
    line = 0
    try:
        for line, record in _records(text):
            if line == 1:
                continue
            if len(record) != len(COLUMNS):
                raise fail(line, f"{len(record)} fields instead of {len(COLUMNS)}")
            found = list(map(cells.read, record)) if escaped else record
            if keep is not None and not keep(found):
                continue
            rows.append(_row(found))
    except ValueError as error:
        raise fail(line, str(error)) from error
    except csv.Error as error:
        raise fail(line + 1, f"the file is damaged or cut short ({error})") from error
    return rows


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """The number of a record's last line, and its cells.

    Most lines have no quotes, and to split those takes a quarter of what ``csv.reader`` takes.
    """
    plain = "\r" not in text
    quoted: list[str] = []
    open_quote = False
    number = 0
    for number, line in enumerate(text.split("\n")[:-1], 1):
        if plain and not quoted and '"' not in line:
            yield number, line.split(",")
            continue
        quoted.append(line + "\n")
        open_quote ^= line.count('"') % 2 == 1
        if not open_quote:
            for record in csv.reader(quoted, strict=True):
                yield number, record
            quoted = []
    for record in csv.reader(quoted, strict=True):
        yield number, record


def _row(record: Sequence[str]) -> Row:
    text, status = record[_VALUE], record[_STATUS]
    value = float(text) if text else None
    if value is not None and not math.isfinite(value):
        raise ValueError(f"'{text}' is not a finite number")
    if status not in (OK, UNAVAILABLE, FAILED):
        raise ValueError(f"unknown status '{status}'")
    if (value is None) == (status == OK):
        raise ValueError(f"status '{status}' with the value '{text}'")
    values: list[Any] = list(record)
    values[_SEED], values[_VALUE] = int(record[_SEED]), value
    return Row(*values)


def _field(text: str) -> str:
    # UTF-8 and every csv reader must hold it: names of files in messages may be anything.
    text = cells.written(text.encode("utf-8", "backslashreplace").decode("utf-8"))
    text = text.replace("\0", "\\0")
    # csv.writer would leave a lone carriage return unquoted, which csv.reader takes for an end.
    quoted = any(sign in text for sign in ',"\r\n')
    return '"' + text.replace('"', '""') + '"' if quoted else text
