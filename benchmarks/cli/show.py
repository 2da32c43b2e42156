"""``depthbench show``: a trained model's predictions as pictures, beside the truth."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmarks.report.console import console
from tasks.errors import UserError, unknown_name

if TYPE_CHECKING:
    from benchmarks.engine.building import Built


class Split(str, Enum):
    """Which images are shown."""

    test = "test"
    val = "val"


def show(
    run: Annotated[
        str,
        typer.Argument(
            help="A run's folder, RESULTS/runs/RUN_ID, or RESULTS/ and the beginning of its id."
        ),
    ],
    images: Annotated[int, typer.Option(min=1, help="How many, evenly spread.")] = 6,
    split: Annotated[Split, typer.Option(help="Where they are taken from.")] = Split.test,
    variant: Annotated[
        str | None,
        typer.Option(help="One of the method's deployable networks; by default the first."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pictures; default RUN/pictures.")
    ] = None,
    score: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out objects with no higher score.")
    ] = 0.3,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N, in place of the run's.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the Python files that the run's manifest names.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of paths.")
    ] = False,
) -> None:
    """Draw what a finished run's model predicts beside what is true, and print the files.

    The model is rebuilt from the run's checkpoint; nothing is trained, and the run's own files
    stay as they are.

    Example: depthbench show results/my_suite/bccd-end_to_end-s0 --images 4
    """
    # Not at the top: torch is slow to import, and ``--help`` needs none of it.
    from benchmarks.cli.trust import require_trust
    from benchmarks.records.run_folder import find_run, finished_manifest
    from benchmarks.records.verification import MANIFEST
    from benchmarks.spec import RunSpec

    folder = find_run(run)
    spec = RunSpec.from_dict(finished_manifest(folder)["spec"])
    require_trust(spec, folder / MANIFEST, trust)
    from benchmarks.engine.trained import trained_model
    from tasks.base import Drawing

    notes: list[str] = []
    with quiet(), console(stderr=True).status("rebuilding the model") as status:
        built, model = trained_model(folder, notes.append, device)
        networks = built.method.variants(model)
        chosen = next(iter(networks)) if variant is None else variant
        if chosen not in networks:
            raise unknown_name(f"variant of {built.label}", chosen, networks)
        status.update("drawing")
        place = out if out is not None else folder / "pictures"
        if out is None and len(networks) > 1:
            place /= re.sub(r"[^\w.=-]+", "-", chosen)
        title = built.label if len(networks) == 1 else f"{built.label}, {chosen}"
        drawing = Drawing(place, split.value, images, title, score)
        try:
            place.mkdir(parents=True, exist_ok=True)
            pictures = built.task.draw(networks[chosen], drawing, built.device)
        except OSError as error:
            raise UserError(
                f"cannot write pictures to {place} ({error.strerror or error}): name another "
                "folder with --out"
            ) from error
    for text in notes:
        typer.echo(f"note: {text}", err=True)
    if as_json:
        told = document(folder, built, chosen, drawing.split)
        print(json.dumps({**told, "pictures": [str(path) for path in pictures]}, indent=2))
    else:
        print("\n".join(map(str, pictures)))


@contextmanager
def quiet() -> Iterator[None]:
    """Leave stdout to the paths, and untold what the run has logged about its model already."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        logging.disable(logging.NOTSET)


def document(folder: Path, built: Built, variant: str, split: str) -> dict[str, str]:
    """What ``--json`` says of the pictures."""
    return {"run": str(folder), "method": built.label, "variant": variant, "split": split}
