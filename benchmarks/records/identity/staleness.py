"""Whether the code is still that which a run was made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from benchmarks.records.identity.sources import (
    digest,
    file_sources,
    harness_sources,
    method_sources,
    task_sources,
)
from tasks.errors import UserError

CHANGED = "the code that decides their numbers has changed since"
ABSENT = "the code that decides their numbers is not here any more"


def stale(manifest: Mapping[str, Any]) -> str:
    """Why the code would not give a run its id any more; empty where it would.

    Imports neither torch nor the code in question; runs of one method share the work.

    Args:
        manifest: of the run; one without a fingerprint of code tells nothing, and is not stale.
    """
    recorded = manifest.get("fingerprint", {}).get("code", {})
    if not recorded:
        return ""
    if "harness" in recorded and recorded["harness"] != _harness():
        return CHANGED
    spec, further = manifest["spec"], manifest.get("sources", {})
    asked = {
        "method": spec.get("method", ""),
        "options": spec.get("method_options"),
        "task": spec.get("task", ""),
        "file": spec.get("method_file"),
        "of_method": further.get("method", []),
        "of_task": further.get("task", []),
    }
    try:
        now = _code_now(json.dumps(asked, sort_keys=True))
    except UserError:
        return ABSENT
    return CHANGED if any(now.get(part) != before for part, before in recorded.items()) else ""


@lru_cache(maxsize=1024)
def _code_now(asked: str) -> dict[str, str]:
    of = json.loads(asked)
    method = method_sources(of["method"], of["options"], of["file"], of["of_method"])
    found = {
        "method": digest(method.files),
        "tasks": _task_now(of["task"], of["file"], tuple(of["of_task"])),
        "harness": _harness(),
    }
    return found | ({"method_file": digest(file_sources(of["file"]).files)} if of["file"] else {})


@lru_cache(maxsize=64)
def _task_now(task: str, file: str | None, further: tuple[str, ...]) -> str:
    return digest(task_sources(task, file, further).files)


@cache
def _harness() -> str:
    return digest(harness_sources().files)
