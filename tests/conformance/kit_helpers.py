"""What the tests that try the kit on whole methods share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.conformance.checking import CHECK_NAMES, run_check
from benchmarks.conformance.finding import Finding
from benchmarks.conformance.subject import Subject
from methods.base import METHODS


def whole_and_short(
    name: str,
    options: Mapping[str, Any] | None = None,
    task: str = "classification",
) -> list[Finding]:
    """The findings of the kit; only ``learns`` trains as long as it takes to learn.

    The other checks see as much after an epoch, unless the method's phases need more.
    """
    whole = Subject(name, options, task=task)
    trial = METHODS.get(name).tried_with.get(task)
    phased = trial is not None and trial.epochs
    short = whole if phased else Subject(name, options, whole.arch, epochs=1, task=task)
    return [run_check(whole if check == "learns" else short, check) for check in CHECK_NAMES]
