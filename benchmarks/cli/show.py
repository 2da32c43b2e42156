"""``depthbench show``: the card of a run, or pictures of its predictions."""

from __future__ import annotations

import json
import shutil
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.cli.run_options import OfMethod, OfSeed, RunName
from benchmarks.records.run_folder import find_run


class Split(str, Enum):
    """Which images are shown."""

    test = "test"
    val = "val"


def show(
    run: RunName,
    method: OfMethod = None,
    seed: OfSeed = None,
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures",
            help="Draw the model's predictions next to the ground truth; print the files.",
        ),
    ] = False,
    images: Annotated[
        int | None, typer.Option(min=1, help="How many, evenly spread; the default is 6.")
    ] = None,
    split: Annotated[
        Split | None, typer.Option(help="Where they are taken from; the default is test.")
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(help="One of the method's deployable networks; by default the first."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pictures; default RUN/pictures.")
    ] = None,
    score: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Leave out objects with no higher score; the default is 0.3."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N, in place of the run's.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the Python files that the run's manifest names.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of text.")
    ] = False,
) -> None:
    """Show one run: what it was, and where its costs went.

    Its specification, accuracy, time, energy and memory by phase, and how to repeat it.
    Sums are checked: parts against the whole that was measured. A run that failed or is not
    finished is shown as far as it came, with the command that resumes it. Nothing is written.

    --pictures draws the predictions of a finished run's model instead; the options after it imply
    it, --json apart.

    Example: depthbench show results/quickstart --method replacement --seed 0

    Example: depthbench show results/detection-smoke/bccd-end_to_end --pictures --images 4
    """
    folder = find_run(run, method, seed)
    given = {
        "images": images,
        "split": split.value if split is not None else None,
        "variant": variant,
        "out": out,
        "score": score,
        "device": device,
        "trust": trust or None,
    }
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if pictures or asked:
        from benchmarks.cli.pictures import Pictures, draw_pictures

        draw_pictures(folder, Pictures(**asked), as_json)
        return
    explain(str(folder), as_json)


def explain(
    run: Annotated[str, typer.Argument(help="A run's folder, or RESULTS/ and a part of its name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Print one run's card; ``depthbench show`` by its old name."""
    from benchmarks.report.card.document import explanation
    from benchmarks.report.card.folder import read_run
    from benchmarks.report.card.text import explain_text

    document = explanation(read_run(run))
    if as_json:
        print(json.dumps(document, indent=2))
        return
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    print(
        explain_text(document, shutil.get_terminal_size().columns, not encoding.startswith("utf"))
    )
