"""``depthbench show --pictures``: a trained model's predictions next to the ground truth."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from benchmarks.report.console import console
from tasks.errors import UserError, unknown_name

if TYPE_CHECKING:
    from benchmarks.engine.building import Built


@dataclass(frozen=True)
class Pictures:
    """Which pictures are wanted.

    Attributes:
        images: how many, evenly spread over the split.
        split: ``test`` or ``val``.
        variant: one of the method's deployable networks; None for the first.
        out: folder; None for ``pictures`` in the run's.
        score: objects with no higher score are left out.
        device: in place of the run's.
        trust: whether Python files that the manifest names may run.
    """

    images: int = 6
    split: str = "test"
    variant: str | None = None
    out: Path | None = None
    score: float = 0.3
    device: str | None = None
    trust: bool = False


def draw_pictures(run: Path, asked: Pictures, as_json: bool) -> None:
    """Draw what a finished run's model predicts next to the ground truth, and print the files.

    The model is rebuilt from the run's checkpoint; nothing is trained, and the run's own files
    stay as they are.
    """
    # Not at the top: torch is slow to import, and ``--help`` needs none of it.
    from benchmarks.cli.trust import require_trust
    from benchmarks.records.run_folder import find_run, finished_manifest
    from benchmarks.records.verification import MANIFEST
    from benchmarks.spec import RunSpec

    folder = find_run(run)
    variant, out = asked.variant, asked.out
    spec = RunSpec.from_dict(finished_manifest(folder)["spec"])
    require_trust(spec, folder / MANIFEST, asked.trust)
    from benchmarks.engine.trained import trained_model
    from tasks.base import Drawing

    notes: list[str] = []
    with quiet(), console(stderr=True).status("rebuilding the model") as status:
        built, model = trained_model(folder, notes.append, asked.device)
        networks = built.method.variants(model)
        chosen = next(iter(networks)) if variant is None else variant
        if chosen not in networks:
            raise unknown_name(f"variant of {built.label}", chosen, networks)
        status.update("drawing")
        place = out if out is not None else folder / "pictures"
        if out is None and len(networks) > 1:
            place /= re.sub(r"[^\w.=-]+", "-", chosen)
        title = built.label if len(networks) == 1 else f"{built.label}, {chosen}"
        drawing = Drawing(place, asked.split, asked.images, title, asked.score)
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
        facts = document(folder, built, chosen, drawing.split)
        print(json.dumps({**facts, "pictures": [str(path) for path in pictures]}, indent=2))
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
