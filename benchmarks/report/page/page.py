"""The page of a report: one file, nothing fetched, everything escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.analysis.best import BOLD
from benchmarks.analysis.summary import failures
from benchmarks.report.layout import failure
from benchmarks.report.page.environment import environment
from benchmarks.report.page.grid import Grid

if TYPE_CHECKING:
    from benchmarks.report.build import Summary

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""The browser itself refuses to fetch anything."""

_READ = (
    "A click on a cell tells its seeds and leads to their manifests. Mean ± sample standard "
    f"deviation over seeds. × is the ratio to the suite's baseline, seed by seed. {BOLD} – has no "
    "value, and says why."
)
_CUT = " This table is large. Further metrics are in report.csv."


def page(
    summaries: Sequence[Summary],
    figures: Sequence[tuple[str, str, Sequence[str]]],
    left_out: Sequence[str],
    out: Path,
) -> str:
    """The whole file.

    Args:
        summaries: what to show.
        figures: SVG, caption and files of each.
        left_out: a sentence for each thing that could not be shown.
        out: the folder that the page will lie in; links to manifests start there.
    """
    names = ", ".join(dict.fromkeys(summary.results.suite for summary in summaries))
    grid = Grid(summaries, out)
    failed = [
        failure(*group, seeds)
        for summary in summaries
        for group, seeds in failures(summary.results.rows).items()
    ]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<link rel="icon" href="data:,">',
        f"<title>{escape(names)}: depthbench report</title>",
        f"<style>\n{_file('page.css')}</style>",
        grid.hidden(),
        "</head><body>",
        f"<header><h1>{escape(names)}</h1>",
        *(f"<p>{escape(summary.title)}</p>" for summary in summaries),
        '<nav><a href="#results">Results</a> <a href="#figures">Figures</a> '
        '<a href="#environment">Environment</a></nav></header><main>',
        '<section id="results"><h2>Results</h2>',
        grid.filters(),
        f'<div class="box" tabindex="0" role="region" aria-label="Results">{grid.table()}</div>',
        f'<p class="small">{escape(_READ)}{_CUT * grid.cut}</p>',
        _list("Failed runs", failed),
        "</section>",
        '<section id="figures"><h2>Figures</h2><div class="figures">',
        *(_figure(*figure) for figure in figures),
        "</div>",
        _list("Left out", left_out),
        "</section>",
        f'<section id="environment"><h2>Environment</h2>{environment(summaries)}</section>',
        '</main><dialog id="cell"></dialog>',
        f'<script type="application/json" id="data">{grid.data()}</script>',
        f"<script>\n{_file('page.js')}</script>",
        "</body></html>",
        "",
    ]
    return "\n".join(part for part in parts if part)


def _figure(svg: str, caption: str, files: Sequence[str]) -> str:
    links = " ".join(
        f'<a href="{escape(file)}">{file.rpartition(".")[2].upper()}</a>' for file in files
    )
    return f"<figure>{svg}<figcaption>{escape(caption)} {links}</figcaption></figure>"


def _list(heading: str, sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<h3>{heading}</h3><ul>{items}</ul>" if items else ""


def _file(name: str) -> str:
    return (resources.files("benchmarks.report.page") / name).read_text(encoding="utf-8")
