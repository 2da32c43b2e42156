"""A summary as tidy CSV: a line for each network and metric, unrounded, in base units."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterable, Sequence

from benchmarks.analysis.columns import Column
from benchmarks.analysis.load import Results
from benchmarks.analysis.statistics.arrays import t_quantile
from benchmarks.analysis.summary import Cell, Line
from benchmarks.records import cells

COLUMNS = (
    *("suite", "profile", "budget", "device"),
    *("task", "dataset", "arch", "method", "variant"),
    *("metric", "phase", "unit", "better"),
    *("n", "mean", "sd", "ci95_low", "ci95_high", "min", "max"),
    *("ratio", "baseline", "best", "seeds", "missing", "busy"),
)
"""``ci95`` is the t interval of the mean; ``best`` is 1 where ``best.supported_best`` says so;
``busy`` are the seeds that were measured while others held the cores."""


def write_header() -> str:
    """The first line."""
    return ",".join(COLUMNS) + "\n"


def write_lines(
    results: Results,
    lines: Sequence[Line],
    columns: Sequence[Column],
    best: Collection[tuple[int, str]],
) -> str:
    """One line of text for each network and column; what is missing is empty, and says why."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    facts = [results.suite, results.profile, results.budget, ", ".join(results.devices)]
    whats = [(c.metric, c.phase, c.info.unit, c.info.better) for c in columns]
    baseline = results.baseline or ""
    for number, line in enumerate(lines):
        for column, what in zip(columns, whats, strict=True):
            cell = line.cells[column.key]
            writer.writerow(
                cells.record(
                    [
                        *(*facts, *line.network, *what),
                        *_numbers(cell),
                        *("" if cell.ratio is None else repr(cell.ratio), baseline),
                        "1" if (number, column.key) in best else "",
                        " ".join(map(str, _measured(cell))),
                        "; ".join(cell.reasons),
                        " ".join(map(str, sorted(cell.busy))),
                    ]
                )
            )
    return text.getvalue()


def _numbers(cell: Cell) -> Iterable[object]:
    if cell.mean is None:
        return (0, *[""] * 6)
    values = [v for v in cell.values.values() if isinstance(v, float | int)]
    spread: list[object] = ["", "", ""]
    if cell.sd is not None:
        half = t_quantile(0.975, cell.n - 1) * cell.sd / math.sqrt(cell.n)
        spread = [cell.sd, cell.mean - half, cell.mean + half]
    return (cell.n, cell.mean, *spread, min(values), max(values))


def _measured(cell: Cell) -> list[int]:
    return sorted(seed for seed, v in cell.values.items() if isinstance(v, float | int))
