"""The harness: plans, runs, measures, records, judges and publishes.

The names below are its public API, which ``import depthbench`` offers as well. A name is imported
when it is first used, so that a command that needs no torch does not wait for it.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "benchmarks.suite": ("Suite", "load_suite"),
    "benchmarks.spec": ("MethodEntry", "RunSpec", "TaskEntry"),
    "benchmarks.budget": ("Budget", "Target"),
    "benchmarks.records.row": ("METRICS", "Measurement", "Metric", "Row"),
    "benchmarks.records.store": ("Store", "read_rows"),
    "benchmarks.analysis.load": ("load", "read_folder"),
    "benchmarks.analysis.summary": ("summarise",),
    "benchmarks.analysis.compare.comparing": ("compare_results",),
    "benchmarks.conformance.plugin": ("conforms",),
    "methods.base": ("METHODS", "Method", "Phase", "PhaseResult"),
    "tasks.base": ("TASKS", "Recipe", "Score", "Task"),
    "tasks.errors": ("UserError",),
}
_MODULES = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = [*sorted(_MODULES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
