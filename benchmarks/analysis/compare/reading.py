"""Results folders -> runs that may be compared, and the columns to compare them in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.analysis import outside
from benchmarks.analysis.columns import QUALITIES, TO_TARGET, Column, column_for, default_columns
from benchmarks.analysis.compare.conditions import Placed, conditions_of, require_alike
from benchmarks.analysis.load import Run, read_folder
from benchmarks.analysis.summary import Line
from benchmarks.records.row import Row
from tasks.errors import UserError

USUAL = frozenset(
    (
        *QUALITIES,
        *TO_TARGET,
        *("params_inference", "macs", "train_time", "mem_activations"),
        *("mem_peak_allocated", "mem_peak_resident", "energy_gpu_counter", "energy_cpu_package"),
    )
)
"""The metrics that are compared by default, as far as they were measured."""


@dataclass(frozen=True)
class Read:
    """Runs of several folders, each once; ``notes`` are sentences on what the reader must know."""

    runs: tuple[Placed, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of all runs."""
        return [row for placed in self.runs for row in placed.run.rows]


def read(paths: Sequence[Path], metrics: Sequence[str] = (), allowed: Collection[str] = ()) -> Read:
    """Read folders whose runs are to be compared with one another.

    Args:
        paths: what ``depthbench run`` has written.
        metrics: what will be requested, as ``top1`` or ``top1:val``; the usual ones by default.
        allowed: differences of conditions that are not refused.

    Raises:
        UserError: a folder has no results or damaged ones, the runs differ in something that is not
            allowed, or two runs have the same method and seed.
    """
    wanted = {name.partition(":")[0] for name in metrics} or USUAL
    placed, notes = [], []
    for path in {Path(path).resolve(): path for path in paths}.values():
        results = read_folder(path, wanted | outside.METRICS)
        placed += [Placed(str(path), run, conditions_of(run.manifest)) for run in results.runs]
        notes += [f"{path}: {mark}" for mark in results.marks]
        if results.unfinished:
            runs = "run has" if results.unfinished == 1 else "runs have"
            notes.append(f"{results.unfinished} {runs} not finished in {path}")
    notes += require_alike(placed, allowed)
    return Read(tuple(_once(placed)), tuple(notes))


def columns_of(read: Read, metrics: Sequence[str]) -> list[Column]:
    """The columns that were requested, else the usual ones: the last epoch's, not the best one's.

    Raises:
        UserError: a metric is unknown, or no run has it.
    """
    if not metrics:
        return [column for column in default_columns(read.rows) if column.phase != "test_best"]
    columns = []
    for name in metrics:
        column = column_for(name, read.rows)
        if not any(row.metric == column.metric for row in read.rows):
            folders = ", ".join(dict.fromkeys(placed.folder for placed in read.runs))
            raise UserError(
                f"no run in {folders} measured {column.metric}: choose another --metric"
            )
        columns.append(column)
    return list(dict.fromkeys(columns))


def unmeasured(lines: Sequence[Line], columns: Sequence[Column]) -> dict[Column, str]:
    """Columns without a single value, and why: the first reason that a run gives."""
    found = {}
    for column in columns:
        cells = [line.cells[column.key] for line in lines]
        if all(cell.mean is None for cell in cells):
            found[column] = next((reason for cell in cells for reason in cell.reasons), "no run")
    return found


def _once(runs: Sequence[Placed]) -> list[Placed]:
    """Copies of a run in several folders count once."""
    found: dict[tuple[object, ...], Placed] = {}
    for placed in runs:
        run = placed.run
        other = found.setdefault((run.setting, run.method, run.seed), placed)
        if other is not placed and not _same(other.run, run):
            _refuse_twins(other, placed)
    return list(found.values())


def _same(one: Run, other: Run) -> bool:
    measured = [
        [(row.metric, row.phase, row.variant, row.value) for row in run.rows]
        for run in (one, other)
    ]
    return one.run_id == other.run_id and measured[0] == measured[1]


def _refuse_twins(one: Placed, other: Placed) -> None:
    run = other.run
    what = (
        f"a run of {run.method} with seed {run.seed} on {', '.join(filter(None, run.setting[1:]))}"
    )
    if one.folder == other.folder:
        raise UserError(
            f"{one.folder} has twice {what} ({one.run.run_id}, {run.run_id}): give one of the "
            "methods a 'label' in the suite"
        )
    raise UserError(
        f"{one.folder} and {other.folder} both have {what}, with other values: compare one folder "
        "at a time; for the same runs before and after a change, use "
        "'depthbench compare RESULTS --against BEFORE'"
    )
