"""Whether a run and its repetition have the same numbers.

Three kinds of numbers: what is counted must be equal wherever it is counted; what follows from
the seed must be equal bit by bit where the same code, data, versions, device and kernels computed
it; what a clock, a meter or the system measured is compared as a ratio, for information.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.explain.spread import Key
from benchmarks.explain.subject import Point
from benchmarks.records import OK, Row

COUNTED, SEEDED, MEASURED = "counted", "seeded", "measured"

_COUNTED = (
    *("params", "params_trainable", "params_inference", "weights_bytes"),
    *("macs", "macs_per_pass", "macs_backbone"),
)
_MEASURED_UNITS = ("s", "J", "images/s", "J/image", "W")
_MEASURED = ("mem_rest", "mem_alloc_retries")
_OF_THE_BUDGET = ("steps", "spent_epochs", "spent_samples", "spent_steps", "spent_train_flops")
_CLOCKED = ("seconds", "joules")
"""Columns of a curve that are measured."""
USUAL = {"B": 0.10, "": 0.25}
"""Share by which measured values may differ before that is told: memory, all else."""


@dataclass(frozen=True)
class Compared:
    """One number of the run beside that of its repetition.

    Attributes:
        metric: as rows call it, or a column of the curve.
        phase: of the row; ``epoch N of PHASE`` for the curve.
        variant: the network; empty for the whole run.
        unit: base unit.
        kind: ``counted``, ``seeded`` or ``measured``.
        before: of the run; None where it has no value, or no such row.
        after: of the repetition.
        only: ``before`` or ``after`` where the other has no such row; else empty.
        agrees: whether it is what was asked for; of a measured one, whether it is as usual.
        allowed: the difference that was allowed, in the unit; None where that is no question.
    """

    metric: str
    phase: str
    variant: str
    unit: str
    kind: str
    before: float | None
    after: float | None
    only: str
    agrees: bool
    allowed: float | None = None

    @property
    def equal(self) -> bool:
        """Whether both have the very same value, or both none."""
        return not self.only and self.before == self.after

    @property
    def ratio(self) -> float | None:
        """The repetition's value in that of the run; None where one of them is absent or 0."""
        return self.after / self.before if self.before and self.after is not None else None

    @property
    def name(self) -> str:
        """``top1 (test, folded)``."""
        return f"{self.metric} ({', '.join(filter(None, [self.phase, self.variant]))})"

    def as_dict(self) -> dict[str, Any]:
        """A mapping that JSON can hold."""
        return {**vars(self), "equal": self.equal, "ratio": self.ratio}


def compare_runs(
    before: tuple[Sequence[Row], Sequence[Point]],
    after: tuple[Sequence[Row], Sequence[Point]],
    exactly: bool,
    points: float,
    watched: bool = False,
    allowed: Mapping[Key, float] | None = None,
) -> list[Compared]:
    """Every number of a run beside that of its repetition.

    Args:
        before: rows and curve of the run.
        after: those of the repetition.
        exactly: whether code, data, versions, device and kernels are the same and repeat bit by
            bit.
        points: by how much metrics in % may differ where they do not.
        watched: whether a clock or a meter ended training, so that steps follow from no seed.
        allowed: the same by metric, phase and variant, in place of ``points``.
    """
    first, second = _by_key(before[0]), _by_key(after[0])
    found = []
    for key in dict.fromkeys([*first, *second]):
        metric, phase, variant = key
        row = first.get(key) or second[key]
        kind = kind_of(row, watched)
        values = _value(first.get(key)), _value(second.get(key))
        only = "before" if key not in second else "after" if key not in first else ""
        judged = kind == SEEDED and row.unit == "%" and not exactly
        within = (allowed or {}).get(key, points) if judged else None
        agrees = _agrees(kind, row.unit, values, only, exactly, within)
        found.append(
            Compared(metric, phase, variant, row.unit, kind, *values, only, agrees, within)
        )
    return found + _curves(before[1], after[1], exactly)


def kind_of(row: Row, watched: bool = False) -> str:
    """``counted``, ``seeded`` or ``measured``."""
    base = row.metric.split("@")[0]
    # A detector's training step depends on the regions that were sampled in it.
    counts_step = base == "train_flops" and row.task != "detection"
    if base in _COUNTED or counts_step:
        return COUNTED
    if watched and base in _OF_THE_BUDGET:
        return MEASURED
    if row.unit in _MEASURED_UNITS or base in _MEASURED or base.startswith("mem_peak_"):
        return MEASURED
    return SEEDED


def disagreements(compared: Iterable[Compared]) -> list[Compared]:
    """What keeps a run and its repetition from agreeing: measured values never do."""
    return [each for each in compared if each.kind != MEASURED and not each.agrees]


def _agrees(
    kind: str,
    unit: str,
    values: tuple[float | None, float | None],
    only: str,
    exactly: bool,
    within: float | None,
) -> bool:
    before, after = values
    if kind == MEASURED:
        usual = USUAL.get(unit, USUAL[""])
        if before is None or after is None or not before:
            return before == after
        return 1 / (1 + usual) <= after / before <= 1 + usual
    if only:
        # Newer code may tell more; it may not tell less.
        return only == "after" and not exactly
    if before == after:
        return True
    if kind == COUNTED or exactly or before is None or after is None:
        return False
    # Without bit by bit equality only shares of a test set are bounded by a stated tolerance.
    return within is None or abs(after - before) <= within


def _curves(before: Sequence[Point], after: Sequence[Point], exactly: bool) -> list[Compared]:
    """Validations in their order; compared where they must be equal, as no tolerance fits them."""
    if not exactly:
        return []
    found = []
    for number in range(max(len(before), len(after))):
        first = before[number] if number < len(before) else {}
        second = after[number] if number < len(after) else {}
        point = first or second
        where = f"epoch {point['epoch']} of {point['phase']}"
        if not first or not second or first["phase"] != second["phase"]:
            only = "before" if first else "after"
            found.append(Compared("validation", where, "", "", SEEDED, None, None, only, False))
            continue
        for column in dict.fromkeys([*first, *second]):
            if column == "phase" or column in _CLOCKED:
                continue
            values = first.get(column), second.get(column)
            agrees = values[0] == values[1]
            found.append(Compared(column, where, "", "", SEEDED, *values, "", agrees))
    return found


def _by_key(rows: Iterable[Row]) -> Mapping[Key, Row]:
    return {(row.metric, row.phase, row.variant): row for row in rows}


def _value(row: Row | None) -> float | None:
    return row.value if row is not None and row.status == OK else None
