"""``depthbench explain``: what a run was, where its costs went, and whether its sums hold."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Annotated

import typer

from benchmarks.report.card.document import explanation
from benchmarks.report.card.folder import read_run
from benchmarks.report.card.text import explain_text


def explain(
    run: Annotated[
        str,
        typer.Argument(
            help="A run's folder, RESULTS/runs/RUN_ID, or RESULTS/ and the beginning of its id."
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of text.")
    ] = False,
) -> None:
    """Tell what one run was, where its time, energy and memory went, and how to repeat it.

    Sums are checked: parts against the whole that was measured. A run that failed or is not
    finished is told as far as it came, with the command to go on. Nothing is written.

    Example: depthbench explain results/quickstart/digits-end_to_end-s0
    """
    document = explanation(read_run(run))
    if as_json:
        print(json.dumps(document, indent=2))
        return
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    print(
        explain_text(document, shutil.get_terminal_size().columns, not encoding.startswith("utf"))
    )
