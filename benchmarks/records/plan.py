"""``plan.json``: what a results folder is for, with a digest of its own content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.records.files import (
    SCHEMA,
    NewerSchemaError,
    read_bytes,
    read_json,
    write_json_atomic,
)
from benchmarks.records.shapes import PLAN as PLAN_SHAPE
from benchmarks.records.verification import MANIFEST, REWRITE, DamagedError, Record, sha256
from tasks.errors import UserError

PLAN = "plan.json"
REPRODUCTION = ("reproduction.md", "reproduction.csv")
"""Reported beside measured, which ``depthbench reproduce`` writes beside the runs."""


@dataclass(frozen=True)
class PlannedRun:
    """A line of ``plan.json``."""

    run_id: str
    label: str
    seed: int
    baseline: bool = False
    """Whether the run is one of the suite's baseline method."""


@dataclass(frozen=True)
class Plan:
    """What a results folder is for.

    Attributes:
        budget: amounts by budget unit; empty where each run has a budget of its own.
        schema: of the folder; 1 where the file has no digest.
        files: SHA-256 of what was made of the runs and is shown as it is, by name: the comparison
            of a reproduction.
    """

    suite: str
    profile: str
    title: str
    budget: Mapping[str, float]
    runs: tuple[PlannedRun, ...]
    schema: int = SCHEMA
    files: Mapping[str, str] = field(default_factory=dict)


def write_plan(folder: Path, plan: Plan) -> None:
    """Write ``plan.json``."""
    content = {"schema": plan.schema, **asdict(plan)}
    write_json_atomic(folder / PLAN, {**content, "sha256": _digest(content)})


def vouch_for(folder: Path, files: Iterable[Path]) -> None:
    """Let the plan of a results folder vouch for further files in it."""
    plan = read_plan(folder)
    if plan is not None:
        digests = {file.name: sha256(file.read_bytes()) for file in files}
        write_plan(folder, replace(plan, files=digests))


def read_plan(folder: Path) -> Plan | None:
    """The plan of a results folder, compared with its digest; None where there is none.

    Raises:
        DamagedError: the file was changed or is not a plan.
        NewerSchemaError: it is of a schema that this version does not know.
    """
    plan, damage = parse_plan(folder)
    if damage is not None:
        raise damage
    return plan


def parse_plan(folder: Path) -> tuple[Plan | None, DamagedError | None]:
    """The plan, and what is wrong with it where it can be read and was changed.

    Raises:
        DamagedError: the file is not a plan.
        NewerSchemaError: it is of a schema that this version does not know.
    """
    path = folder / PLAN
    try:
        values = read_json(path, PLAN_SHAPE)
        if values is None:
            return None, None
        written = values.pop("sha256", None)
        digest = _digest(values)
        runs = tuple(PlannedRun(**run) for run in values.pop("runs"))
        plan = Plan(**{"schema": 1, **values}, runs=runs)
    except NewerSchemaError:
        raise
    except (UserError, TypeError) as error:
        raise DamagedError(
            f"{path} is not a plan of depthbench ({error})",
            "restore it, or remove it and give the command 'depthbench run' once more",
        ) from error
    for run in plan.runs:
        if Path(run.run_id).name != run.run_id:
            raise DamagedError(f"{path} is damaged: '{run.run_id}' is not the id of a run", REWRITE)
    if written is None and plan.schema == 1:
        return plan, None
    if written != digest:
        return plan, DamagedError(f"{path} is not the file that 'depthbench run' wrote", REWRITE)
    return plan, None


def check_reproduction(folder: Path, plan: Plan | None) -> None:
    """Raise ``DamagedError`` unless a comparison with a paper is the one that was written.

    A plan of schema 1 vouches for none.
    """
    if plan is None or plan.schema == 1:
        return
    for name in REPRODUCTION:
        content = read_bytes(folder / name)
        if content is None and name in plan.files:
            raise DamagedError(f"{folder / name} is missing", _COMPARE)
        if content is not None and plan.files.get(name) != sha256(content):
            raise DamagedError(f"{folder / name} is not what was written of these runs", _COMPARE)


_COMPARE = "give the command 'depthbench reproduce' once more, which writes it anew"


def check_made(folder: Path, plan: Plan, planned: PlannedRun, record: Record) -> None:
    """Raise ``DamagedError`` unless a run was made as the plan says, label and suite apart."""
    spec = record.manifest.get("spec", {})
    said: dict[str, Any] = {"profile": plan.profile, "seed": planned.seed}
    if plan.budget:
        said["budget"] = plan.budget
    for key, value in said.items():
        if key in spec and spec[key] != value:
            raise DamagedError(
                f"{folder / PLAN} says {key} {_shown(value)}, and {record.folder / MANIFEST} "
                f"{_shown(spec[key])}",
                REWRITE,
            )


def _digest(content: Mapping[str, Any]) -> str:
    # As JSON gives it back: a tuple of runs is a list.
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode("utf-8"))


def _shown(value: Any) -> Any:
    return ", ".join(f"{k}={v:g}" for k, v in value.items()) if isinstance(value, dict) else value
