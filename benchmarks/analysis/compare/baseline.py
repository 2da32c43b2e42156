"""What others are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.analysis.load import Run
from benchmarks.analysis.summary import Line
from tasks.errors import UserError, unknown_name

USUAL_BASELINE = "end_to_end"


@dataclass(frozen=True)
class Baseline:
    """What others are compared with: a method, and one of its networks if that was named.

    Without one a network is compared with the one of its own name, else ``full``, else the first.
    """

    method: str
    variant: str | None = None

    def __str__(self) -> str:
        return self.method if self.variant is None else f"{self.method}:{self.variant}"


def find_baseline(name: str | None, runs: Sequence[Run], lines: Sequence[Line]) -> Baseline:
    """The baseline that was named, else that of the suites, else ``end_to_end``.

    Args:
        name: ``METHOD`` or ``METHOD:VARIANT``; None where none was named.
        runs: all that were read.
        lines: their summary.

    Raises:
        UserError: there is no such method or variant, or none was named and suites differ.
    """
    known = {line.method for line in lines}
    if name is None:
        marked = sorted({run.method for run in runs if run.baseline})
        if len(marked) == 1:
            return Baseline(marked[0])
        if USUAL_BASELINE in known:
            return Baseline(USUAL_BASELINE)
        raise UserError(
            "these results do not say what to compare with: name a method with --baseline; known: "
            + ", ".join(sorted(known))
        )
    if name in known:
        return Baseline(name)
    method, _, variant = name.rpartition(":")
    if method not in known:
        raise unknown_name("baseline", name, known)
    variants = {line.variant for line in lines if line.method == method}
    if variant not in variants:
        raise unknown_name(f"variant of {method}", variant, variants)
    return Baseline(method, variant)
