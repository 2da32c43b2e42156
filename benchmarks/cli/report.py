"""``depthbench report``: tables, figures and a page of one or more results folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.report.build import FORMATS, write_report


def report(
    results: Annotated[
        list[Path], typer.Argument(help="Folders that 'depthbench run' has written to.")
    ],
    formats: Annotated[
        str, typer.Option("--format", help="What to write: some of md, latex, csv and html.")
    ] = ",".join(FORMATS),
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder to write into; the default is RESULTS/report, or report for several "
            "folders."
        ),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns of the tables in place of the default ones, such as top1,ece:val or "
            "latency@1."
        ),
    ] = None,
    figures: Annotated[int, typer.Option(help="How many figures to draw at most.", min=0)] = 20,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the paths as one JSON document.")
    ] = False,
) -> None:
    """Write tables for a README and a paper, figures, and a page that explains every cell.

    Writes report.md, report.tex, report.csv (tidy), report.html (one file, no network) and
    figures/*.png and *.pdf. The same results give the same bytes.

    Example: depthbench report results/quickstart --format md,html --metrics top1,train_time
    """
    if out is None:
        out = results[0] / "report" if len(results) == 1 else Path("report")
    done = write_report(results, out, _names([formats]), _names(metrics or ()), figures)
    if as_json:
        files = [str(path) for path in done.files]
        print(json.dumps({"files": files, "left_out": done.left_out}, indent=2))
        return
    for path in done.files:
        print(path)
    for sentence in done.left_out:
        typer.echo(f"note: {sentence}", err=True)


def _names(told: list[str] | tuple[str, ...]) -> list[str]:
    """Names that commas separate, once each."""
    names = (name.strip() for names in told for name in names.split(","))
    return list(dict.fromkeys(name for name in names if name))
