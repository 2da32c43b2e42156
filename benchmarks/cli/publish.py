"""``depthbench publish``: keep results in a repository, and write the page about all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.analysis.load import read_folder
from benchmarks.report.published.copying import copy_results, folders_named
from benchmarks.report.published.readme import write_readme
from tasks.errors import UserError


def publish(
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders to publish; none brings tables and page up to date alone."),
    ] = None,
    to: Annotated[Path, typer.Option(help="The folder of README.md and published/.")] = Path(
        "results"
    ),
    name: Annotated[
        str, typer.Option(help="What to call it under published/; default the suite's name.")
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the paths as one JSON document.")
    ] = False,
) -> None:
    """Copy results into a repository, with a page about all.

    Each folder goes to TO/published/NAME, where it takes the place of an earlier one of the same
    suite. TO/README.md then has a section for everything published: its table, what was run where
    and when, at which budget, from which commit, with links to rows and manifests. What a person
    wants to add goes into TO/published/NAME/NOTES.md. The same files give the same bytes.

    Example: depthbench publish results/quickstart
    """
    folders = results or []
    if name and len(folders) != 1:
        raise UserError("--name is for one folder of results: publish the others by themselves")
    notes = [note for folder in folders for note in folders_named(read_folder(folder))]
    copied = [copy_results(folder, to / "published", name) for folder in folders]
    sections = write_readme(to)
    readme = to / "README.md"
    if as_json:
        document = {
            "published": [str(path) for path in copied],
            "page": str(readme),
            "sections": [path.name for path in sections],
            "notes": notes,
        }
        print(json.dumps(document, indent=2))
        return
    for path in [*copied, readme]:
        print(path)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
