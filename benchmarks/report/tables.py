"""``table.md``, ``table.csv`` and ``table.tex`` of a results directory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.budget import Budget
from benchmarks.files import write_text_atomic
from benchmarks.records import Row, declare_metric
from benchmarks.report.columns import Column, column_for, default_columns
from benchmarks.report.layout import lay_out
from benchmarks.report.summary import Line, failures, summarise
from benchmarks.store import Plan, Store, read_rows
from tasks.errors import UserError

if TYPE_CHECKING:
    import pandas


def write_tables(path: Path, metrics: Sequence[str] = ()) -> dict[str, str]:
    """Write the tables of a results directory anew from its ``rows.csv``.

    Args:
        path: the results directory.
        metrics: columns in place of the default ones, see ``summary.column_for``.

    Returns:
        The texts by format: ``md``, ``csv``, ``latex``.

    Raises:
        UserError: there are no results, they are damaged, or a metric is unknown.
    """
    store = Store(path)
    if not store.rows_path.exists():
        raise UserError(
            f"there is no {store.rows_path}: name a folder that 'depthbench run' has written to"
        )
    rows = read_rows(store.rows_path)
    for row in rows:
        declare_metric(row.metric, row.unit)
    plan = store.plan()
    columns = [column_for(name, rows) for name in metrics] or default_columns(rows)
    baseline = baseline_label(rows, plan)
    lines = summarise(rows, columns, baseline)
    title = describe(rows, plan, baseline, devices(store, plan))
    table = lay_out(lines, columns, title, failures(rows))
    texts = {
        "md": table.markdown(),
        "csv": frame(lines, columns).to_csv(index=False),
        "latex": table.latex(),
    }
    for suffix, text in zip(("md", "csv", "tex"), texts.values(), strict=True):
        write_text_atomic(store.path / f"table.{suffix}", text)
    return texts


def baseline_label(rows: Sequence[Row], plan: Plan | None) -> str | None:
    """What the rows call the baseline; None where no run of it is known."""
    marked = {run.run_id for run in plan.runs if run.baseline} if plan else set()
    return next((row.method for row in rows if row.run_id in marked), None)


def devices(store: Store, plan: Plan | None) -> list[str]:
    """The devices that the plan's runs were measured on, each once."""
    names: dict[str, None] = {}
    for run in plan.runs if plan else ():
        try:
            device = (store.manifest(run.run_id) or {}).get("device")
        except UserError:  # the run's rows are in rows.csv or not: its manifest is no matter here
            continue
        name = device.get("name") if isinstance(device, dict) else device
        if name:
            names[str(name)] = None
    return list(names)


def describe(
    rows: Sequence[Row],
    plan: Plan | None,
    baseline: str | None,
    where: Sequence[str],
    name: str = "",
) -> str:
    """The sentence above a table: suite, what is the same for all lines, profile, seeds, device.

    ``name`` stands for the suite's where that would not tell it from another.
    """
    suite = plan.suite if plan else ", ".join(_distinct(row.suite for row in rows))
    parts = [f"Suite {name or suite}"]
    parts += [", ".join(names) for names in _settings(rows) if len(names) == 1 and names[0]]
    if plan:
        reduced = "" if plan.profile == "paper" else ", a reduced budget"
        parts.append(f"profile {plan.profile}{reduced} ({Budget.parse(plan.budget)})")
    seeds = sorted({row.seed for row in rows})
    if len(seeds) > 1:
        parts.append(f"seeds {', '.join(map(str, seeds))} (mean ± sample standard deviation)")
    elif seeds:
        parts.append(f"seed {seeds[0]}")
    if where:
        parts.append(f"measured on {', '.join(where)}")
    if baseline is not None:
        parts.append(f"× is the ratio to {baseline}, seed by seed")
    if not rows:
        parts.append("no run has finished yet")
    return "; ".join(parts) + "."


def frame(lines: Sequence[Line], columns: Sequence[Column]) -> pandas.DataFrame:
    """The numbers behind a table, unrounded and in base units.

    Each column makes ``NAME``, ``NAME_sd``, ``NAME_n`` and, for a cost, ``NAME_ratio``, where
    NAME is ``METRIC:PHASE``.
    """
    import pandas

    records = []
    for line in lines:
        record = {
            name: getattr(line.network, name)
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
