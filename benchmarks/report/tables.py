"""``table.md``, ``table.csv`` and ``table.tex`` of a results directory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.analysis.columns import Column, column_for, default_columns
from benchmarks.analysis.load import Results, read_folder
from benchmarks.analysis.outside import outside_budget
from benchmarks.analysis.summary import Line, failures, summarise
from benchmarks.records import cells
from benchmarks.records.files import write_text_atomic
from benchmarks.records.row import Row
from benchmarks.report.layout import lay_out

if TYPE_CHECKING:
    import pandas


def write_tables(path: Path, metrics: Sequence[str] = ()) -> dict[str, str]:
    """Write the tables of a results directory again from its runs.

    Args:
        path: the results directory.
        metrics: columns in place of the default ones, see ``summary.column_for``.

    Returns:
        The texts by format: ``md``, ``csv``, ``latex``.

    Raises:
        UserError: there are no results, they are damaged, or a metric is unknown.
    """
    results = read_folder(path)
    rows = results.rows
    columns = [column_for(name, rows) for name in metrics] or default_columns(rows)
    lines = summarise(rows, columns, results.baseline)
    remarks = outside_budget(rows)
    table = lay_out(lines, columns, describe(results), failures(rows), remarks=remarks)
    texts = {
        "md": table.markdown(),
        "csv": frame(lines, columns).to_csv(index=False),
        "latex": table.latex(),
    }
    for suffix, text in zip(("md", "csv", "tex"), texts.values(), strict=True):
        write_text_atomic(Path(path) / f"table.{suffix}", text)
    return texts


def describe(results: Results, name: str = "") -> str:
    """The sentence above a table: suite, what is the same for all lines, profile, seeds, device.

    ``name`` stands for the suite's where that would not tell it from another.
    """
    rows, plan = results.rows, results.plan
    parts = [f"Suite {name or results.suite}"]
    parts += [", ".join(names) for names in _settings(rows) if len(names) == 1 and names[0]]
    if plan:
        reduced = "" if plan.profile == "paper" else ", a reduced budget"
        budget = f" ({results.budget})" if results.budget else ""
        parts.append(f"profile {plan.profile}{reduced}{budget}")
    seeds = sorted({row.seed for row in rows})
    if len(seeds) > 1:
        parts.append(f"seeds {', '.join(map(str, seeds))} (mean ± std)")
    elif seeds:
        parts.append(f"seed {seeds[0]}")
    if results.devices:
        parts.append(f"measured on {', '.join(results.devices)}")
    if results.baseline is not None:
        parts.append(f"× is the ratio to {results.baseline}, seed by seed")
    if not rows:
        parts.append("no run has finished yet")
    return "; ".join([*parts, *results.marks]) + "."


def frame(lines: Sequence[Line], columns: Sequence[Column]) -> pandas.DataFrame:
    """The numbers behind a table, unrounded and in base units.

    Each column makes ``NAME``, ``NAME_sd``, ``NAME_n`` and, for a cost, ``NAME_ratio``, where
    NAME is ``METRIC:PHASE``.
    """
    import pandas

    records = []
    for line in lines:
        record: dict[str, object] = {
            name: cells.written(getattr(line.network, name))
            for name in ("task", "dataset", "arch", "method", "variant")
        }
        record["seeds"] = len(line.seeds)
        for column in columns:
            cell = line.cells[column.key]
            record |= {column.key: cell.mean, f"{column.key}_sd": cell.sd}
            record[f"{column.key}_n"] = cell.n
            if column.is_cost:
                record[f"{column.key}_ratio"] = cell.ratio
        records.append(record)
    return pandas.DataFrame.from_records(records)


def _settings(rows: Sequence[Row]) -> list[list[str]]:
    return [_distinct(getattr(row, name) for row in rows) for name in ("dataset", "arch")]


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
