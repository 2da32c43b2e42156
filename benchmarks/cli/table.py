"""``depthbench table``: the tables of a results directory, printed and written anew."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.report.tables import write_tables


class Format(str, Enum):
    """What ``table`` prints."""

    md = "md"
    csv = "csv"
    latex = "latex"


def table(
    results: Annotated[Path, typer.Argument(help="The folder that 'depthbench run' wrote to.")],
    form: Annotated[Format, typer.Option("--format", help="What to print.")] = Format.md,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="A column in place of the default ones, such as ece, top1:val or latency@1; "
            "may be given several times."
        ),
    ] = None,
) -> None:
    """Print a table of results, and write table.md, table.csv and table.tex beside them.

    Example: depthbench table results/quickstart --metric top1 --metric train_time
    """
    print(write_tables(results, metric or ())[form.value], end="")
