"""The page's table: cells that link to manifests, and what a click on one tells."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from benchmarks.analysis.columns import Column
from benchmarks.analysis.load import Results, Run
from benchmarks.analysis.summary import Cell, Line
from benchmarks.report.layout import disturbed, heading, show_cell, title_of, unit_of

if TYPE_CHECKING:
    from benchmarks.report.build import Summary

MANY_CELLS = 60_000
"""A table with more has the columns of the Markdown table alone, so that a phone can hold it."""

BUSY_MARK = ' <span class="busy">*</span>'
"""Marks a cell that was measured while others held the cores; its title says so."""

_NAMES = {
    "method": "method",
    "variant": "variant",
    "results": "suite",
    "task": "task",
    "dataset": "data set",
    "arch": "architecture",
}
_FILTERS = ("results", "task", "dataset", "arch", "method", "variant")


class Grid:
    """The table of all results, in pieces of HTML.

    Args:
        summaries: what to show.
        out: the folder that the page will lie in.
    """

    def __init__(self, summaries: Sequence[Summary], out: Path) -> None:
        self._summaries, self._out = summaries, os.path.abspath(out)
        shown = list(dict.fromkeys(column for s in summaries for column in s.shown))
        every = [*shown, *(c for s in summaries for c in s.measured if c not in set(shown))]
        self._columns = list(dict.fromkeys(every))
        self._shown = len(shown)
        self.cut = len(self._columns) * sum(len(s.lines) for s in summaries) > MANY_CELLS
        """Whether metrics beyond the shown ones are left out."""
        if self.cut:
            self._columns = shown
        self._names = [name for name in _NAMES if name == "method" or len(self._known(name)) > 1]

    def filters(self) -> str:
        """The controls above the table."""
        selects = []
        for name in _FILTERS:
            known = self._known(name)
            if len(known) > 1:
                options = "".join(f"<option>{escape(value)}</option>" for value in known)
                label = _NAMES[name]
                selects.append(
                    f'<label>{label}<select data-of="{name}"><option value="">all</option>{options}'
                    "</select></label>"
                )
        boxes = "".join(
            f'<label><input type="checkbox" value="{number}"'
            f"{' checked' * (number < self._shown)}>{escape(_told(column))}</label>"
            for number, column in enumerate(self._columns)
        )
        return (
            '<form class="filters" autocomplete="off"><label>text<input type="search" '
            f'placeholder="any word"></label>{"".join(selects)}'
            f'<details><summary>metrics</summary><div class="metrics">{boxes}</div></details>'
            '<button type="reset">reset</button><output></output></form>'
        )

    def hidden(self) -> str:
        """The style that hides those columns that are not shown by default."""
        first = len(self._names) + 2
        hidden = range(self._shown + first, len(self._columns) + first)
        rule = ",".join(f"#grid tr>:nth-child({number})" for number in hidden)
        return f'<style id="hidden">{rule and rule + "{display:none}"}</style>'

    def table(self) -> str:
        """The table itself; it can be read without any script."""
        heads = [*(_NAMES[name] for name in self._names), "seeds", *map(heading, self._columns)]
        cells = "".join(
            f'<th scope="col"{" class=n" * (number < len(self._names))}>'
            f'<button type="button">{escape(head)}</button></th>'
            for number, head in enumerate(heads)
        )
        body = "\n".join(self._rows())
        return f'<table id="grid"><thead><tr>{cells}</tr></thead><tbody>\n{body}\n</tbody></table>'

    def data(self) -> str:
        """What a click on a cell tells, as JSON that no tag can end.

        Values are in the shown unit, with seven digits; ``report.csv`` has them all.
        """
        reasons: dict[str, int] = {}

        def number(value: float | None, scale: float) -> float | None:
            return None if value is None else float(f"{value / scale:.7g}")

        def told(cell: Cell, scale: float) -> list[object]:
            values = {
                seed: reasons.setdefault(v, len(reasons)) if isinstance(v, str) else None
                for seed, v in cell.values.items()
            }
            return [
                number(cell.mean, scale),
                number(cell.sd, scale),
                cell.n,
                number(cell.ratio, 1),
                [
                    # A reason is its number in a list, to tell it from a value.
                    [why] if why is not None else number(float(cell.values[seed]), scale)
                    for seed, why in sorted(values.items())
                ],
                *disturbed(cell),
            ]

        rows = []
        for summary, line in self._lines():
            seeds = sorted({seed for cell in line.cells.values() for seed in cell.values})
            rows.append(
                {
                    "seeds": seeds,
                    "runs": [self._manifest(self._run(summary.results, line, s)) for s in seeds],
                    "cells": [told(line.cells[c.key], c.info.scale) for c in self._columns],
                }
            )
        document = {
            "names": len(self._names),
            "columns": [_told(column) for column in self._columns],
            "units": [unit_of(column).strip(" ()") for column in self._columns],
            "rows": rows,
            "reasons": list(reasons),
        }
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
        return text.replace("<", "\\u003c")

    def _rows(self) -> Iterator[str]:
        numbers: dict[int, int] = {}
        for place, (summary, line) in enumerate(self._lines()):
            number = numbers.setdefault(id(summary), 0)
            numbers[id(summary)] += 1
            values = self._values(summary, line)
            attributes = "".join(
                f' data-{name}="{escape(values[name])}"' for name in _FILTERS if values[name]
            )
            names = "".join(
                f'<th scope="row">{escape(values[name])}</th>'
                if name == "method"
                else f'<td class="n">{escape(values[name])}</td>'
                for name in self._names
            )
            cells = "".join(
                self._cell(summary, line, column, (number, column.key) in summary.best)
                for column in self._columns
            )
            seeds = f"<td>{len(line.seeds)}</td>"
            yield f'<tr data-row="{place}"{attributes}>{names}{seeds}{cells}</tr>'

    def _cell(self, summary: Summary, line: Line, column: Column, best: bool) -> str:
        cell = line.cells[column.key]
        text = escape(show_cell(cell, column))
        text = f"<strong>{text}</strong>" if best else text
        text += BUSY_MARK if disturbed(cell) else ""
        told = [seed for seed, value in cell.values.items() if not isinstance(value, str)]
        seeds = told or list(cell.values)
        link = self._manifest(self._run(summary.results, line, min(seeds))) if seeds else None
        notes = disturbed(cell) if cell.n else cell.reasons
        why = f' title="{escape("; ".join(notes))}"' if notes else ""
        where = f'href="{escape(link)}"' if link else 'role="button" tabindex="0"'
        return f"<td><a {where}{why}>{text}</a></td>"

    def _lines(self) -> Iterator[tuple[Summary, Line]]:
        for summary in self._summaries:
            for line in summary.lines:
                yield summary, line

    def _values(self, summary: Summary, line: Line) -> Mapping[str, str]:
        return {"results": summary.results.name, **line.network._asdict()}

    def _known(self, name: str) -> list[str]:
        return list(dict.fromkeys(self._values(*line)[name] for line in self._lines()))

    @cached_property
    def _runs(self) -> dict[tuple[object, ...], Run]:
        return {
            (summary.results.name, *run.setting, run.method, run.seed): run
            for summary in self._summaries
            for run in summary.results.runs
        }

    def _run(self, results: Results, line: Line, seed: int) -> Run | None:
        return self._runs.get((results.name, *line.network[:4], seed))

    def _manifest(self, run: Run | None) -> str | None:
        """The way from the page to a run's manifest; None where there is none."""
        if run is None or run.manifest is None:
            return None
        path = os.path.relpath(os.path.abspath(run.folder / "manifest.json"), self._out)
        return quote(path)


def _told(column: Column) -> str:
    """A column's title with the phase that headings leave out."""
    outside = column.phase if column.phase not in ("training", "inference", "test_best") else ""
    title = title_of(column)
    return title if not outside or outside in title else f"{title}, {outside}"
