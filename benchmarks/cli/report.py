"""``depthbench report``: the table of results folders; with ``--page``, figures and a page too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tasks.errors import UserError, unknown_name

TABLES = ("md", "csv", "latex")


def report(
    results: Annotated[
        list[Path], typer.Argument(help="Folders that 'depthbench run' wrote to, one or more.")
    ],
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="What to print: md (the default), csv or latex. With --page, what to write: some "
            "of md, latex, csv and html, separated by commas; all by default.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="A column in place of the default ones, such as ece, top1:val or latency@1; "
            "may be given several times."
        ),
    ] = None,
    metrics: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
    page: Annotated[
        bool,
        typer.Option(
            "--page", help="Write tables, figures and one HTML page into a folder instead."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="That folder; the default is RESULTS/report, or report for several folders."
        ),
    ] = None,
    figures: Annotated[
        int | None, typer.Option(help="Figures to draw at most; the default is 20.", min=0)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the paths of --page as one JSON document.")
    ] = False,
) -> None:
    """Print the table of results, or write figures and a page.

    The table is also written as table.md, table.csv and table.tex into RESULTS. --page writes
    report.md, report.tex, report.csv (tidy), report.html (one file, no network) and figures/*.png
    and *.pdf; --out, --figures and --json imply it. The same results give the same bytes.

    Example: depthbench report results/quickstart --metric top1 --metric train_time

    Example: depthbench report results/quickstart --page --format md,html
    """
    asked = _names([formats] if formats else [])
    columns = _names([*(metric or ()), *(metrics or ())])
    if page or out is not None or figures is not None or as_json or "html" in asked:
        _write_page(results, asked, columns, out, 20 if figures is None else figures, as_json)
        return
    from benchmarks.report.tables import write_tables

    if len(asked) > 1:
        raise UserError("--format takes one of md, csv and latex; with --page it takes several")
    form = asked[0] if asked else "md"
    if form not in TABLES:
        raise unknown_name("format", form, TABLES)
    print("\n".join(write_tables(folder, columns)[form] for folder in results), end="")


def _write_page(
    results: list[Path],
    formats: list[str],
    columns: list[str],
    out: Path | None,
    figures: int,
    as_json: bool,
) -> None:
    from benchmarks.report.build import FORMATS, write_report

    if out is None:
        out = results[0] / "report" if len(results) == 1 else Path("report")
    done = write_report(results, out, formats or list(FORMATS), columns, figures)
    if as_json:
        files = [str(path) for path in done.files]
        print(json.dumps({"files": files, "left_out": done.left_out}, indent=2))
        return
    for path in done.files:
        print(path)
    for sentence in done.left_out:
        typer.echo(f"note: {sentence}", err=True)


def _names(texts: list[str] | tuple[str, ...]) -> list[str]:
    """Names that commas separate, once each."""
    names = (name.strip() for names in texts for name in names.split(","))
    return list(dict.fromkeys(name for name in names if name))
