"""Summaries laid out as tables: headings, shown units, footnotes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from benchmarks.analysis.columns import TRAINING, Column
from benchmarks.analysis.compare.verdicts import EXACT
from benchmarks.analysis.summary import RUN_FAILED, Cell, Line, seeds_named
from benchmarks.records.row import BUSY
from benchmarks.report.text import Shown, Table

MISSING = "–"
ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}
_WHOLE = (*EXACT, "batches", "optimizer_steps")
"""± 0 would say nothing of these."""


def lay_out(
    lines: Sequence[Line],
    columns: Sequence[Column],
    title: str,
    failed: Mapping[tuple[str, str], Sequence[int]],
    best: Collection[tuple[int, str]] = (),
    label: str = "",
    remarks: Sequence[str] = (),
) -> Table:
    """Lines as text: shown units, footnotes, and only those identity columns that differ.

    Args:
        lines: what ``summarise`` made.
        columns: those to show, in order.
        title: the sentence above the table.
        failed: what ``failures`` found.
        best: cells in bold, see ``best.supported_best``.
        label: for references in LaTeX.
        remarks: further sentences below the table.
    """
    names = identity(lines)
    notes: dict[str, int] = {}
    body = []
    for number, line in enumerate(lines):
        cells = [Shown(getattr(line.network, name)) for name in names]
        cells.append(Shown(str(len(line.seeds))))
        for column in columns:
            cell = line.cells[column.key]
            beside = (*missing(cell, line), *cell.notes, *disturbed(cell))
            marks = tuple(notes.setdefault(text, len(notes) + 1) for text in beside)
            cells.append(Shown(show_cell(cell, column), marks, (number, column.key) in best))
        body.append(cells)
    return Table(
        title=title,
        headings=[*names, "seeds", *map(heading, columns)],
        body=body,
        notes=list(notes),
        remarks=[*(failure(*each, seeds) for each, seeds in failed.items()), *remarks],
        names=len(names),
        label=label,
    )


def identity(lines: Sequence[Line]) -> list[str]:
    """The fields of a network that a table must name: the method, and what differs."""
    networks = [line.network for line in lines]
    names = [n for n in ("task", "dataset", "arch") if len({getattr(x, n) for x in networks}) > 1]
    names.append("method")
    if len({network.variant for network in networks if network.variant}) > 1:
        names.append("variant")
    return names


def missing(cell: Cell, line: Line) -> list[str]:
    """A sentence for each reason why seeds have no value."""
    # The number of seeds and the list of failures say already what failed.
    reasons = [r for r in cell.reasons if r != RUN_FAILED or not line.seeds]
    if cell.n:
        return [f"mean of {cell.n} seed{'s' * (cell.n > 1)} only: {reason}" for reason in reasons]
    return reasons


def disturbed(cell: Cell) -> list[str]:
    """A sentence for values that were measured while others held the cores; none for most."""
    where = "the column reason of rows.csv has the figures"
    if cell.busy:
        return [f"{BUSY} ({seeds_named(cell.busy)}): others held the cores; {where}"]
    if cell.base_busy:
        return [f"ratio to a baseline measured on a {BUSY} ({seeds_named(cell.base_busy)})"]
    return []


def failure(method: str, reason: str, seeds: Sequence[int]) -> str:
    """One way in which runs of a method failed."""
    return f"failed: {method}, {seeds_named(seeds)}: {reason}"


def heading(column: Column) -> str:
    """``top-1 @ best-val checkpoint ↑ (%)``."""
    return f"{title_of(column)}{ARROWS[column.info.better]}{unit_of(column)}"


def axis_label(column: Column) -> str:
    """``top-1 @ best-val checkpoint (%)``."""
    return title_of(column) + unit_of(column)


def title_of(column: Column) -> str:
    """``top-1 @ best-val checkpoint``."""
    _, _, condition = column.metric.partition("@")
    title = column.info.title + (f" @{condition}" if condition else "")
    if column.phase == "test_best":
        return f"{title} @ best-val checkpoint"
    if column.phase not in ("test", "inference", "setup", TRAINING):
        return f"{title}, {column.phase}"
    return title


def unit_of(column: Column) -> str:
    """`` (MiB)``, or nothing."""
    info = column.info
    unit = info.shown or ("" if info.unit == "count" else info.unit)
    return f" ({unit})" if unit else ""


def show_cell(cell: Cell, column: Column) -> str:
    """``71.20 ± 0.31``, ``465 (0.83×)`` or ``–``, in the unit of tables."""
    if cell.mean is None:
        return MISSING
    scale = column.info.scale
    mean = cell.mean / scale
    digits = decimals(mean, column)
    text = f"{mean:.{digits}f}"
    exact = column.metric.split("@")[0] in _WHOLE and not cell.sd
    if cell.sd is not None and not exact:
        text += f" ± {cell.sd / scale:.{digits}f}"
    if cell.ratio is not None:
        text += f" ({cell.ratio:.2f}×)"
    return text


def decimals(value: float, column: Column) -> int:
    """Two for percentages, none for whole counts, else what makes four significant digits."""
    if column.info.unit == "%":
        return 2
    if value == 0 or (
        column.info.scale == 1 and column.info.unit == "count" and value.is_integer()
    ):
        return 0
    return min(4, max(0, 3 - math.floor(math.log10(abs(value)))))
