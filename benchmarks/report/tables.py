"""``table.md``, ``table.csv`` and ``table.tex`` of a results directory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.budget import Budget
from benchmarks.files import write_text_atomic
from benchmarks.records import Row, declare_metric
from benchmarks.report.summary import (
    RUN_FAILED,
    TRAINING,
    Cell,
    Column,
    Line,
    column_for,
    default_columns,
    failures,
    summarise,
)
from benchmarks.store import Plan, Store, read_rows
from tasks.errors import UserError

if TYPE_CHECKING:
    import pandas

MISSING = "–"
_ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}
_EXACT = ("params", "params_trainable", "params_inference", "macs", "train_flops", "steps")
"""Counts: equal over seeds unless the method makes them differ, so ± 0 would say nothing."""


@dataclass(frozen=True)
class Table:
    """A table ready to be written in any format.

    Args:
        title: one sentence that says what the numbers are of.
        headings: column headings.
        body: cells as text, with footnote numbers apart: ``(text, numbers)``.
        notes: footnotes; the first has number 1.
        failed: one sentence for every way in which runs failed.
    """

    title: str
    headings: Sequence[str]
    body: Sequence[Sequence[tuple[str, tuple[int, ...]]]]
    notes: Sequence[str] = ()
    failed: Sequence[str] = field(default_factory=tuple)

    def markdown(self) -> str:
        """GitHub's Markdown."""
        from tabulate import tabulate

        def show(text: str, numbers: tuple[int, ...]) -> str:
            marks = "".join(f" [{number}]" for number in numbers)
            return _one_line(text).replace("|", "\\|") + marks

        cells = [[show(*cell) for cell in line] for line in self.body]
        headings = [heading.replace("|", "\\|") for heading in self.headings]
        table = tabulate(cells, headings, tablefmt="pipe", disable_numparse=True)
        parts = [self.title, table]
        notes = [f"[{number}] {_one_line(note)}" for number, note in enumerate(self.notes, 1)]
        parts += ["  \n".join(notes)] if notes else []
        parts += ["\n".join(f"- {_one_line(line)}" for line in self.failed)] if self.failed else []
        return "\n\n".join(parts) + "\n"

    def latex(self) -> str:
        """A ``table`` environment for the booktabs package."""

        def show(text: str, numbers: tuple[int, ...]) -> str:
            marks = ",".join(map(str, numbers))
            return latex_escape(_one_line(text)) + (f"$^{{{marks}}}$" if marks else "")

        notes = [
            f"$^{{{number}}}$ {latex_escape(_one_line(note))}"
            for number, note in enumerate(self.notes, 1)
        ]
        notes += [latex_escape(_one_line(line)) for line in self.failed]
        return "\n".join(
            [
                "% needs \\usepackage{booktabs}",
                "\\begin{table}",
                "\\centering",
                f"\\caption{{{latex_escape(_one_line(self.title))}}}",
                f"\\begin{{tabular}}{{{'l' * len(self.headings)}}}",
                "\\toprule",
                " & ".join(map(latex_escape, self.headings)) + r" \\",
                "\\midrule",
                *(" & ".join(show(*cell) for cell in line) + r" \\" for line in self.body),
                "\\bottomrule",
                "\\end{tabular}",
                *(f"\\par {note}" for note in notes),
                "\\end{table}",
                "",
            ]
        )


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
    rows: Sequence[Row], plan: Plan | None, baseline: str | None, where: Sequence[str]
) -> str:
    """The sentence above a table: suite, what is the same for all lines, profile, seeds, device."""
    parts = [f"Suite {plan.suite if plan else ', '.join(_distinct(r.suite for r in rows))}"]
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


def lay_out(
    lines: Sequence[Line],
    columns: Sequence[Column],
    title: str,
    failed: dict[tuple[str, str], list[int]],
) -> Table:
    """Lines as text: shown units, footnotes, and only those identity columns that differ."""
    identity = [
        name
        for name in ("task", "dataset", "arch")
        if len({getattr(line, name) for line in lines}) > 1
    ]
    identity.append("method")
    if len({line.variant for line in lines if line.variant}) > 1:
        identity.append("variant")
    notes: list[str] = []
    body = []
    for line in lines:
        cells: list[tuple[str, tuple[int, ...]]] = [(getattr(line, n), ()) for n in identity]
        cells.append((str(len(line.seeds)), ()))
        for column in columns:
            cell = line.cells[column.key]
            numbers = []
            for reason in cell.reasons:
                if reason == RUN_FAILED and line.seeds:
                    continue  # the number of seeds and the list below say it already
                note = (
                    reason
                    if cell.n == 0
                    else f"mean of {cell.n} seed{'s' * (cell.n > 1)} only: {reason}"
                )
                if note not in notes:
                    notes.append(note)
                numbers.append(notes.index(note) + 1)
            cells.append((show_cell(cell, column), tuple(numbers)))
        body.append(cells)
    return Table(
        title=title,
        headings=[*identity, "seeds", *map(heading, columns)],
        body=body,
        notes=notes,
        failed=[
            f"failed: {method}, {'seed' if len(seeds) == 1 else 'seeds'} "
            f"{', '.join(map(str, sorted(seeds)))}: {reason}"
            for (method, reason), seeds in failed.items()
        ],
    )


def heading(column: Column) -> str:
    """``top-1, best epoch ↑ (%)``."""
    info = column.info
    _, _, condition = column.metric.partition("@")
    title = info.title + (f" @{condition}" if condition else "")
    if column.phase == "test_best":
        title += ", best epoch"
    elif column.phase not in ("test", "inference", "setup", TRAINING):
        title += f", {column.phase}"
    unit = info.shown or ("" if info.unit == "count" else info.unit)
    return f"{title}{_ARROWS[info.better]}" + (f" ({unit})" if unit else "")


def show_cell(cell: Cell, column: Column) -> str:
    """``71.20 ± 0.31``, ``465 (0.83×)`` or ``–``, in the unit of tables."""
    if cell.mean is None:
        return MISSING
    scale = column.info.scale
    mean = cell.mean / scale
    digits = _decimals(mean, column)
    text = f"{mean:.{digits}f}"
    exact = column.metric.split("@")[0] in _EXACT and not cell.sd
    if cell.sd is not None and not exact:
        text += f" ± {cell.sd / scale:.{digits}f}"
    if cell.ratio is not None:
        text += f" ({cell.ratio:.2f}×)"
    return text


def frame(lines: Sequence[Line], columns: Sequence[Column]) -> pandas.DataFrame:
    """The numbers behind a table, unrounded and in base units.

    Each column makes ``NAME``, ``NAME_sd``, ``NAME_n`` and, for a cost, ``NAME_ratio``, where
    NAME is ``METRIC:PHASE``.
    """
    import pandas

    records = []
    for line in lines:
        record = {
            name: getattr(line, name) for name in ("task", "dataset", "arch", "method", "variant")
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


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def latex_escape(text: str) -> str:
    """Text that LaTeX sets as it stands, with the signs that tables use."""
    return "".join(_LATEX.get(sign, sign) for sign in text)


def _decimals(value: float, column: Column) -> int:
    """Two for percentages, none for whole counts, else what makes four significant digits."""
    if column.info.unit == "%":
        return 2
    if value == 0 or (
        column.info.scale == 1 and column.info.unit == "count" and value.is_integer()
    ):
        return 0
    return min(4, max(0, 3 - math.floor(math.log10(abs(value)))))


def _settings(rows: Sequence[Row]) -> list[list[str]]:
    return [_distinct(getattr(row, name) for row in rows) for name in ("dataset", "arch")]


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _one_line(text: str) -> str:
    return " ".join(text.split())
