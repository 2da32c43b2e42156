"""All that decides the numbers of a run besides its specification: code, data, versions, device."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine.building import Built
from benchmarks.meters.device import device_name
from benchmarks.records.identity.imports import CONTRACTS, Sources
from benchmarks.records.identity.origin import changes, named_changes
from benchmarks.records.identity.sources import (
    digest,
    file_sources,
    harness_sources,
    method_sources,
    task_sources,
)
from benchmarks.records.identity.versions import STACK, named_version, stack_version
from tasks.errors import UserError

EVERY_RUN = ("torch", "torchvision", "mmengine", "numpy")
"""Modules whose version counts whether or not a method or task imports them itself."""


def fingerprint(built: Built) -> dict[str, Any]:
    """Everything besides the specification that can change a number of this run.

    Raises:
        UserError: code that decides a number cannot be found.
    """
    method, task = _sources(built)
    packages = {**method.packages, **task.packages}
    named = {name: named_version(name) for name in built.task.packages if name not in packages}
    return {
        "code": _code(built, method, task),
        "data": built.task.fingerprint(),
        "versions": {
            "python": platform.python_version(),
            **{name: stack_version(name) for name in EVERY_RUN},
            **dict(sorted({**named, **packages}.items())),
        },
        "device": device_name(built.device),
        "threads": torch.get_num_threads(),
    }


def require_planned_code(built: Built, planned: Mapping[str, Any]) -> None:
    """Refuse to carry out a run whose code is not what its id was made from.

    Args:
        built: the run, its method imported.
        planned: an item of ``planning.plan_runs``.

    Raises:
        UserError: files were changed since the run was planned; says which code.
    """
    code = _code(built, *_sources(built))
    changed = named_changes(changes({"code": planned["fingerprint"]["code"]}, {"code": code}))
    if changed:
        raise UserError(
            f"{' and '.join(changed)} changed after the run was planned, and its id would be that "
            "of other code: give the same command again"
        )


def _code(built: Built, method: Sources, task: Sources) -> dict[str, str]:
    found = {
        "method": digest(method.files),
        "tasks": digest(task.files),
        "harness": digest(harness_sources().files),
    }
    if built.spec.method_file:
        # Whatever else the file does when it is imported counts, for every run of its suite.
        found["method_file"] = digest(file_sources(built.spec.method_file).files)
    return found


def _sources(built: Built) -> tuple[Sources, Sources]:
    """The code of a run's method and of its task."""
    spec, file = built.spec, built.spec.method_file
    further = list(built.method.sources), list(built.task.sources)
    method = method_sources(spec.method, spec.method_options, file, further[0])
    task = task_sources(spec.task, file, further[1])
    _require_whole(f"method '{spec.method}'", type(built.method), method)
    _require_whole(f"task '{spec.task}'", type(built.task), task)
    return method, task


def _require_whole(what: str, kind: type, found: Sources) -> None:
    """Raise ``UserError`` if a class that takes part is in none of the files that were found."""
    files = {path.resolve() for path in found.files.values()}
    for each in _modules(kind.__mro__):
        file = getattr(sys.modules.get(each), "__file__", None)
        if each.partition(".")[0] in (*found.packages, *STACK) or each in CONTRACTS:
            continue
        if file is None or Path(file).resolve() not in files:
            raise UserError(
                f"the {what} is made of code in {each} that cannot be found by reading its "
                f"imports: name the module in 'sources' of {kind.__name__}"
            )


def _modules(kinds: Sequence[type]) -> Iterable[str]:
    names = dict.fromkeys(kind.__module__ for kind in kinds)
    return [name for name in names if name.partition(".")[0] not in sys.stdlib_module_names]
