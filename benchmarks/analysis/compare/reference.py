"""A summary of results that later ones are held against, and its file ``main.csv``."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.analysis.columns import Column, all_columns
from benchmarks.analysis.compare.conditions import Conditions, conditions_of
from benchmarks.analysis.load import Run, read_folder
from benchmarks.analysis.summary import NOT_MEASURED, RUN_FAILED, Cell, Line, summarise
from benchmarks.records import cells
from benchmarks.records.files import write_text_atomic
from benchmarks.records.row import BUSY, FAILED, Row, busy_note, declare_metric
from tasks.errors import UserError


class Key(NamedTuple):
    """One quantity of one network of a suite; ``variant`` is empty for one of the whole run."""

    suite: str
    task: str
    dataset: str
    arch: str
    method: str
    variant: str
    phase: str
    metric: str

    @property
    def column(self) -> Column:
        """Metric and phase."""
        return Column(self.metric, self.phase)


Method = tuple[str, str, str, str, str]
"""Suite, task, data set, architecture, method."""

KEPT = ("hardware", "precision", "profile", "budget", "data")
"""The conditions that a reference holds."""
COLUMNS = (*Key._fields, "unit", "n", "values", *KEPT, "reason")


@dataclass(frozen=True)
class Entry:
    """A quantity over seeds.

    Attributes:
        unit: of the values: the metric's base unit.
        values: by seed.
        conditions: what they were measured under; several are joined by " + ".
        reason: why seeds have none, and which were measured while others held the cores; empty for
            most.
    """

    unit: str
    values: Mapping[int, float]
    conditions: Conditions
    reason: str = ""

    @property
    def busy(self) -> str:
        """The part of the reason on a busy machine; empty for most."""
        return busy_note(self.reason)


@dataclass(frozen=True)
class Reference:
    """Quantities, and runs that failed: method to seed to reason."""

    entries: Mapping[Key, Entry]
    failed: Mapping[Method, Mapping[int, str]]
    marks: Sequence[str] = ()
    """What must be said of the folders that it was made of: unverified, stale runs."""
    rows_alone: Sequence[Path] = ()
    """Those of the folders that hold rows without the records of their runs."""

    @property
    def suites(self) -> set[str]:
        """Suites that have an entry or a failed run."""
        return {key.suite for key in self.entries} | {method[0] for method in self.failed}


def summarise_folders(paths: Sequence[Path]) -> Reference:
    """The summary of results folders.

    Raises:
        UserError: a folder has no results or damaged ones, or two runs have one method and seed.
    """
    folders = {path: read_folder(path) for path in _once(paths)}
    runs = [run for results in folders.values() for run in results.runs]
    suites: dict[str, list[Run]] = {}
    for run in runs:
        suites.setdefault(run.rows[0].suite, []).append(run)
    entries: dict[Key, Entry] = {}
    failed: dict[Method, dict[int, str]] = {}
    for suite, of_suite in suites.items():
        rows = [row for run in of_suite for row in run.rows]
        conditions = _conditions(suite, of_suite)
        columns = all_columns(rows)
        for line in summarise(rows, columns):
            for column in columns:
                entry = _entry(line, column, conditions.get((suite, *line.network[:4])))
                if entry is not None:
                    entries.setdefault(_key(suite, line, column), entry)
        for row in rows:
            if row.status == FAILED:
                failed.setdefault(_method(suite, row), {})[row.seed] = row.reason
    return Reference(
        entries,
        failed,
        [f"{path}: {mark}" for path, results in folders.items() for mark in results.marks],
        [path for path, of in folders.items() if any(run.manifest is None for run in of.runs)],
    )


def read_reference(path: Path) -> Reference:
    """Read ``main.csv``, or summarise a folder of results.

    Raises:
        UserError: it is not there, or is not a file of :func:`write_reference`; says which line.
    """
    if path.is_dir():
        return summarise_folders([path])
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise UserError(
            f"there is no {path} to hold results against: write it with "
            f"'depthbench compare RESULTS --against {path} --write'"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    entries: dict[Key, Entry] = {}
    try:
        if tuple(next(lines, ())) != COLUMNS:
            raise ValueError(f"the header must be {','.join(COLUMNS)}")
        if not text.endswith("\n"):
            raise ValueError("the file is cut short")
        for line in lines:
            if len(line) != len(COLUMNS):
                raise ValueError(f"{len(line)} fields instead of {len(COLUMNS)}")
            key, entry = _parse(dict(zip(COLUMNS, map(cells.read, line), strict=True)))
            entries[key] = entry
            declare_metric(key.metric, entry.unit)
    except (csv.Error, ValueError) as error:
        raise UserError(f"{path}:{max(1, lines.line_num)}: {error}") from error
    return Reference(entries, {})


def write_reference(path: Path, found: Reference) -> int:
    """Write the entries to a file, in place of those of the same suites; other suites stay.

    The same entries give the same bytes.

    Returns:
        How many lines the suites of ``found`` have in it.

    Raises:
        UserError: the file is there and not a reference, or cannot be written, or ``found`` is of
            rows without the records of their runs.
    """
    if found.rows_alone:
        raise UserError(
            f"{found.rows_alone[0]} holds rows without the records of their runs, and nothing "
            "vouches for them: write the reference from a folder that 'depthbench run' has written"
        )
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file such as {path / 'main.csv'}")
    kept = read_reference(path).entries if path.exists() else {}
    suites = found.suites
    merged = {key: entry for key, entry in kept.items() if key.suite not in suites}
    merged |= found.entries
    lines = [COLUMNS, *(_cells(key, merged[key]) for key in sorted(merged))]
    text = "".join(",".join(map(_field, line)) + "\n" for line in lines)
    write_text_atomic(path, text)
    return len(found.entries)


def _conditions(suite: str, runs: Iterable[Run]) -> dict[Method, Conditions]:
    """The conditions of each method's finished runs."""
    found: dict[Method, list[Conditions]] = {}
    for run in runs:
        if not any(row.status == FAILED for row in run.rows):
            found.setdefault(_method(suite, run.rows[0]), []).append(conditions_of(run.manifest))
    return {
        method: Conditions(
            **{kind: " + ".join(sorted({getattr(c, kind) for c in several})) for kind in KEPT}
        )
        for method, several in found.items()
    }


def _method(suite: str, row: Row) -> Method:
    return suite, row.task, row.dataset, row.arch, row.method


def _key(suite: str, line: Line, column: Column) -> Key:
    of_run = line.cells[column.key].of_run
    variant = "" if of_run else line.variant
    return Key(suite, *line.network[:4], variant, column.phase, column.metric)


def _entry(line: Line, column: Column, conditions: Conditions | None) -> Entry | None:
    """None where the network has no such quantity: nothing was tried to measure it."""
    cell: Cell = line.cells[column.key]
    values = {seed: float(v) for seed, v in cell.values.items() if isinstance(v, float | int)}
    reasons = [r for r in cell.reasons if r not in (RUN_FAILED, NOT_MEASURED)]
    if conditions is None or not (values or reasons):
        return None
    reasons += [
        f"{BUSY} (seed {seed}){note.removeprefix(BUSY)}" for seed, note in sorted(cell.busy.items())
    ]
    reason = " ".join("; ".join(reasons).split())
    return Entry(column.info.unit, dict(sorted(values.items())), conditions, reason)


def _parse(line: Mapping[str, str]) -> tuple[Key, Entry]:
    values = {}
    for pair in line["values"].split():
        seed, _, value = pair.partition("=")
        values[int(seed)] = float(value)
        if not math.isfinite(values[int(seed)]):
            raise ValueError(f"'{value}' is not a finite number")
    if line["n"] != str(len(values)):
        raise ValueError(f"n is {line['n']}, and there are {len(values)} values")
    conditions = Conditions(**{kind: line[kind] for kind in KEPT})
    key = Key(*(line[name] for name in Key._fields))
    return key, Entry(line["unit"], values, conditions, line["reason"])


def _cells(key: Key, entry: Entry) -> list[str]:
    values = " ".join(f"{seed}={value!r}" for seed, value in sorted(entry.values.items()))
    conditions = [getattr(entry.conditions, kind) for kind in KEPT]
    texts = [*key, entry.unit, str(len(entry.values)), values, *conditions, entry.reason]
    return list(map(cells.written, texts))


def _field(text: str) -> str:
    quoted = any(sign in text for sign in ',"\r\n')
    return '"' + text.replace('"', '""') + '"' if quoted else text


def _once(paths: Iterable[Path]) -> list[Path]:
    return list({path.resolve(): path for path in paths}.values())
