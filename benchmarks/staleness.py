"""Whether the code is still that which a run was made with."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import tasks
from benchmarks.identity import code_fingerprint

CHANGED = "the code that decides their numbers has changed since"


def stale(manifest: Mapping[str, Any]) -> str:
    """Why the code would not give a run its id any more; empty where it would.

    Imports neither torch nor the code in question.

    Args:
        manifest: of the run; one without a fingerprint of code tells nothing, and is not stale.
    """
    recorded = manifest.get("fingerprint", {}).get("code", {})
    now = _code_now()
    return CHANGED if any(recorded.get(part, now[part]) != now[part] for part in now) else ""


@cache
def _code_now() -> dict[str, str]:
    here = Path(__file__).parent
    return {
        "tasks": code_fingerprint([Path(str(tasks.__file__)).parent]),
        "harness": code_fingerprint([here / name for name in _deciding_code(here)]),
    }


def _deciding_code(here: Path) -> tuple[str, ...]:
    """``planning.DECIDING_CODE``, read without importing its module, which imports torch."""
    for statement in ast.parse((here / "planning.py").read_text(encoding="utf-8")).body:
        if (
            isinstance(statement, ast.Assign)
            and ast.unparse(statement.targets[0]) == "DECIDING_CODE"
        ):
            return tuple(ast.literal_eval(statement.value))
    raise LookupError("planning.py has no DECIDING_CODE")
