"""``depthbench list``: everything that a suite file can name."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.suites.document import suite_names
from benchmarks.suites.plugins import import_method_file
from methods.base import METHODS
from tasks.base import TASKS
from tasks.classification.registry import DATASETS, MODELS
from tasks.detection.models import READY as DETECTORS
from tasks.segmentation.models import READY as SEGMENTORS

MORE = {
    "models": "every classification model of torchvision by its own name (resnet50, ...)",
    "detectors": "every config of mmdet by its name (mmdet::fcos/fcos_r50-caffe_fpn_...py) or file",
    "segmentors": "every config of mmsegmentation by its name (mmseg::FOLDER/FILE.py) or file",
}
"""What else can be named."""


def list_known(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of text.")
    ] = False,
    schema: Annotated[
        bool, typer.Option(help="Print the JSON Schema of suite files instead, for an editor.")
    ] = False,
    method_file: Annotated[
        Path | None, typer.Option(help="A Python file with methods of your own, listed as well.")
    ] = None,
) -> None:
    """List methods, tasks, datasets, models and suites.

    Example: depthbench list --json
    """
    if schema:
        from benchmarks.suite import suite_schema

        print(json.dumps(suite_schema(), indent=2))
        return
    if method_file is not None:
        import_method_file(method_file)
    known = {
        "methods": [(entry.name, entry.summary) for entry in METHODS.entries()],
        "tasks": [(entry.name, entry.summary) for entry in TASKS.entries()],
        "datasets": [(entry.name, entry.summary) for entry in DATASETS.entries()],
        "models": [(entry.name, entry.summary) for entry in MODELS.entries()],
        "detectors": [(name, ready.summary) for name, ready in DETECTORS.items()],
        "segmentors": [(name, ready.summary) for name, ready in SEGMENTORS.items()],
        "suites": list(suite_names().items()),
    }
    if as_json:
        document = {
            kind: [{"name": name, "summary": summary} for name, summary in entries]
            for kind, entries in known.items()
        }
        print(json.dumps(document, indent=2))
        return
    width = max((len(name) for entries in known.values() for name, _ in entries), default=0)
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for kind, entries in known.items():
        print(kind.replace("datasets", "data sets"))
        for name, summary in entries:
            print(_cut(f"  {name:<{width}}  {summary}".rstrip(), columns))
        if kind in MORE:
            print(f"  and {MORE[kind]}")
        print()


def _cut(line: str, columns: int | None) -> str:
    return line if columns is None or len(line) <= columns else line[: columns - 1] + "…"
