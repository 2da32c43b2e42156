"""Arguments that name a run, for the commands that take one."""

from __future__ import annotations

from typing import Annotated

import typer

RunName = Annotated[
    str,
    typer.Argument(
        help="A run's folder, RESULTS/ and a unique part of its name, or RESULTS with --method "
        "and --seed."
    ),
]
OfMethod = Annotated[
    str | None, typer.Option(help="The run of RESULTS with this method, as tables call it.")
]
OfSeed = Annotated[int | None, typer.Option(help="The run of RESULTS with this seed.")]
