"""The files of the harness that one run's specification enters on its way to rows.

``python tools/run_path.py [SUITE]`` carries out the first run of a suite (quickstart, two steps) in
this process, from ``engine/run.py:execute`` on, and lists the files of ``benchmarks/`` in which a
call receives the specification or what was built from it: task, method, recipe.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HARNESS = ROOT / "benchmarks"


def trace(suite: str = "quickstart") -> tuple[Counter[str], int]:
    """Carry out one short run of a suite.

    Returns:
        Calls by file, and how often a call goes from one file to another.
    """
    from benchmarks.budget import Budget
    from benchmarks.engine.building import Built
    from benchmarks.engine.run import execute
    from benchmarks.launch.planning import plan_runs
    from benchmarks.spec import RunSpec
    from benchmarks.suite import load_suite
    from methods.base import Method
    from tasks.base import Recipe, Task

    def carries(value: Any) -> bool:
        if isinstance(value, Mapping):
            return "spec" in value and "run_id" in value
        return isinstance(value, RunSpec | Built | Task | Method | Recipe)

    calls: Counter[str] = Counter()
    moves = 0

    def enter(frame: FrameType, event: str, _: Any) -> None:
        nonlocal moves
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(str(HARNESS)):
            return
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if any(carries(frame.f_locals.get(name)) for name in names):
            file = Path(code.co_filename).relative_to(HARNESS).as_posix()
            caller = frame.f_back
            moves += caller is not None and caller.f_code.co_filename != code.co_filename
            calls[file] += 1

    spec = replace(load_suite(suite).specs()[0], budget=Budget.parse({"steps": 2}))
    planned = plan_runs([spec.to_dict()], lambda event: None)[0]
    with tempfile.TemporaryDirectory() as folder:
        sys.setprofile(enter)
        try:
            execute(planned, folder, lambda event: None)
        finally:
            sys.setprofile(None)
    return calls, moves


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    found, moves = trace(*sys.argv[1:])
    for file, count in sorted(found.items()):
        print(f"{count:6} {file}")
    print(f"{len(found)} files, {moves} moves between files")
