"""Runs that start with the weights of another: ``init_from`` of a method in a suite."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.records.run_folder import finished_manifest
from benchmarks.spec import RunSpec
from tasks.errors import UserError, unknown_name

CHECKPOINT = Path("checkpoints") / "latest.pth"


def in_order(specs: Sequence[RunSpec]) -> list[tuple[int, RunSpec]]:
    """Specifications with their places, each after the one that it starts from.

    Raises:
        UserError: runs start from each other in a circle.
    """
    places = {id(spec): place for place, spec in enumerate(specs)}
    ordered: list[tuple[int, RunSpec]] = []
    done: set[int] = set()

    def add(spec: RunSpec, waiting: tuple[RunSpec, ...]) -> None:
        if id(spec) in done:
            return
        if any(spec is each for each in waiting):
            circle = " from ".join(each.written for each in (*waiting, spec))
            raise UserError(f"runs start from each other in a circle: {circle}")
        source = _source_in(specs, spec)
        if source is not None:
            add(source, (*waiting, spec))
        done.add(id(spec))
        ordered.append((places[id(spec)], spec))

    for spec in specs:
        add(spec, ())
    return ordered


def source_of(spec: RunSpec, plans: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The run that a run starts from: its id, its folder if it lies elsewhere, its weights' hash.

    Args:
        spec: with ``init_from``.
        plans: the runs that are planned already, that one among them.

    Raises:
        UserError: no method of the suite is called so, and no finished run is there.
    """
    for planned in plans:
        other = RunSpec.from_dict(planned["spec"])
        if _matches(spec, other) and spec.init_from in (other.written, planned["label"]):
            return {"run_id": planned["run_id"], "folder": "", "weights": ""}
    folder = Path(spec.init_from)
    if not folder.is_dir():
        labels = [planned["label"] for planned in plans]
        error = unknown_name("method of the suite", spec.init_from, labels)
        raise UserError(f"init_from: {error}; or give the folder of a finished run")
    manifest = finished_manifest(folder)
    path = folder / CHECKPOINT
    if not path.is_file():
        raise UserError(f"init_from: {folder} has no {CHECKPOINT}, so it cannot be started from")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    run_id = str(manifest["run_id"])
    return {"run_id": run_id, "folder": str(folder.resolve()), "weights": digest}


def _source_in(specs: Sequence[RunSpec], spec: RunSpec) -> RunSpec | None:
    """The specification that one starts from, by the label as written; None for a folder."""
    if not spec.init_from:
        return None
    alike = (each for each in specs if _matches(spec, each))
    return next((each for each in alike if spec.init_from == each.written), None)


def _matches(one: RunSpec, other: RunSpec) -> bool:
    """Whether two runs are of the same task and seed."""
    return (one.task, one.task_options, one.seed) == (other.task, other.task_options, other.seed)
