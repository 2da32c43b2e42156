"""Whether the code is still that which a run was made with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from benchmarks.sources import digest, file_sources, harness_sources, method_sources, task_sources
from tasks.errors import UserError

CHANGED = "the code that decides their numbers has changed since"
ABSENT = "the code that decides their numbers is not here any more"


def stale(manifest: Mapping[str, Any]) -> str:
    """Why the code would not give a run its id any more; empty where it would.

    Imports neither torch nor the code in question.

    Args:
        manifest: of the run; one without a fingerprint of code tells nothing, and is not stale.
    """
    recorded = manifest.get("fingerprint", {}).get("code", {})
    try:
        now = _code_now(manifest) if recorded else {}
    except UserError:
        return ABSENT
    return CHANGED if any(now.get(part) != before for part, before in recorded.items()) else ""


def _code_now(manifest: Mapping[str, Any]) -> dict[str, str]:
    spec, further = manifest["spec"], manifest.get("sources", {})
    file = spec.get("method_file")
    method = method_sources(
        spec.get("method", ""), spec.get("method_options"), file, further.get("method", ())
    )
    task = task_sources(spec.get("task", ""), file, further.get("task", ()))
    found = {
        "method": digest(method.files),
        "tasks": digest(task.files),
        "harness": _harness(),
    }
    return found | ({"method_file": digest(file_sources(file).files)} if file else {})


@cache
def _harness() -> str:
    return digest(harness_sources().files)
