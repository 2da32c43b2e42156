"""A report: results folders in, tables, figures and a page out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmarks.analysis import tidy
from benchmarks.analysis.best import BOLD, supported_best
from benchmarks.analysis.columns import Column, all_columns, column_for, default_columns
from benchmarks.analysis.load import Results, load
from benchmarks.analysis.outside import outside_budget
from benchmarks.analysis.summary import Line, failures, summarise
from benchmarks.records.files import disk_errors, write_text_atomic
from benchmarks.report.layout import lay_out
from benchmarks.report.tables import describe
from benchmarks.report.text import Table
from tasks.errors import UserError, unknown_name

FORMATS = ("md", "latex", "csv", "html")


@dataclass(frozen=True)
class Summary:
    """Results summarised: what every format shows.

    Attributes:
        shown: the columns of tables.
        measured: every column that these results have, those of tables among them.
        columns: every column that any of the report's results has.
    """

    results: Results
    shown: Sequence[Column]
    measured: Sequence[Column]
    columns: Sequence[Column]

    @cached_property
    def lines(self) -> list[Line]:
        """A line a network, with all columns."""
        return summarise(self.results.rows, self.columns, self.results.baseline)

    @cached_property
    def best(self) -> set[tuple[int, str]]:
        """Cells that are better than all others beyond noise."""
        return supported_best(self.lines, self.measured)

    @cached_property
    def title(self) -> str:
        """What the numbers are of."""
        of = self.results
        title = describe(of, of.name)
        if of.unfinished:
            runs = "1 planned run is" if of.unfinished == 1 else f"{of.unfinished} planned runs are"
            title += f" {runs} not finished."
        return title

    def table(self, label: str) -> Table:
        """The table for people and papers."""
        rows = self.results.rows
        shown = {column.key for column in self.shown}
        bold = f" {BOLD}" if any(key in shown for _, key in self.best) else ""
        title, remarks = self.title + bold, outside_budget(rows)
        return lay_out(self.lines, self.shown, title, failures(rows), self.best, label, remarks)


@dataclass
class Report:
    """What was written, and one sentence for everything that was left out."""

    files: list[Path] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def write_report(
    paths: Sequence[Path],
    out: Path,
    formats: Sequence[str] = FORMATS,
    metrics: Sequence[str] = (),
    most_figures: int = 20,
) -> Report:
    """Write ``report.md``, ``report.tex``, ``report.csv``, ``report.html`` and ``figures/``.

    The same results give the same bytes. Figures are written as PDF with ``latex``, as PNG with
    ``md``; in the page they are part of it.

    Args:
        paths: results folders; see :func:`benchmarks.analysis.load.load` for which share a table.
        out: the folder to write into; made where it is absent.
        formats: of :data:`FORMATS`.
        metrics: columns of tables in place of the default ones, see ``columns.column_for``; the CSV
            then holds these alone.
        most_figures: how many figures are drawn at most; each takes a fraction of a second.

    Raises:
        UserError: results cannot be read, none has finished, or a metric or format is unknown.
    """
    for name in formats:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: name a folder for the report")
    report = Report()
    summaries = summarise_all(paths, metrics, report)
    if "md" in formats:
        tables = [summary.table("").markdown() for summary in summaries]
        _text(report, out / "report.md", "\n".join(tables))
    if "latex" in formats:
        labels = _labels(len(summaries))
        tables = [s.table(label).latex() for s, label in zip(summaries, labels, strict=True)]
        _text(report, out / "report.tex", "\n".join(tables))
    if "csv" in formats:
        lines = [
            tidy.write_lines(s.results, s.lines, s.shown if metrics else s.measured, s.best)
            for s in summaries
        ]
        _text(report, out / "report.csv", tidy.write_header() + "".join(lines))
    if {"md", "latex", "html"} & set(formats):
        figures = _figures(report, summaries, out, formats, most_figures)
        if "html" in formats:
            from benchmarks.report.page.page import page

            _text(report, out / "report.html", page(summaries, figures, report.left_out, out))
    return report


def summarise_all(paths: Sequence[Path], metrics: Sequence[str], report: Report) -> list[Summary]:
    """Summaries of all results that have a row; what has none is told in the report."""
    from benchmarks.report.figures.choose import NEEDED

    loaded = load(paths)
    found = [results for results in loaded if results.runs]
    if not found:
        names = ", ".join(str(path) for path in paths)
        raise UserError(f"no run in {names} has finished yet: wait for 'depthbench run', or run it")
    for results in loaded:
        if not results.runs:
            report.left_out.append(f"Nothing of {results.name}: no run of it has finished yet.")
    rows = [row for results in found for row in results.rows]
    chosen = [column_for(name, rows) for name in metrics]
    shown = [chosen or default_columns(results.rows) for results in found]
    measured = [
        list(dict.fromkeys([*own, *all_columns(results.rows)]))
        for results, own in zip(found, shown, strict=True)
    ]
    columns = list(dict.fromkeys([*(c for own in measured for c in own), *NEEDED]))
    return [
        Summary(results, own, everything, columns)
        for results, own, everything in zip(found, shown, measured, strict=True)
    ]


def _figures(
    report: Report, summaries: Sequence[Summary], out: Path, formats: Sequence[str], most: int
) -> list[tuple[str, str, list[str]]]:
    """Draw all figures: the SVG, the caption and the names of the files of each."""
    # Not at the top: matplotlib takes a second to import, which a CSV need not wait for.
    from benchmarks.report.figures import output
    from benchmarks.report.figures.choose import choose
    from benchmarks.report.figures.draw import draw

    chosen = choose([(s.results, s.lines, s.measured) for s in summaries], most)
    report.left_out += chosen.left_out
    drawn = []
    with output.drawing():
        for number, figure in enumerate(chosen.figures):
            canvas = draw(figure)
            svg = output.svg(canvas, f"f{number}", figure.caption) if "html" in formats else ""
            files = []
            for name, suffix, save in (("latex", "pdf", output.pdf), ("md", "png", output.png)):
                if name in formats:
                    path = out / "figures" / f"{figure.stem}.{suffix}"
                    _bytes(report, path, save(canvas))
                    files.append(f"figures/{path.name}")
            drawn.append((svg, figure.caption, files))
    return drawn


def _labels(count: int) -> list[str]:
    return ["tab:depthbench"] if count == 1 else [f"tab:depthbench-{n + 1}" for n in range(count)]


def _text(report: Report, path: Path, text: str) -> None:
    write_text_atomic(path, text)
    report.files.append(path)


def _bytes(report: Report, path: Path, content: bytes) -> None:
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    report.files.append(path)
