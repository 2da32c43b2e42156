"""The verdict on every claim of a reproduction, from the rows of its runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.analysis.statistics.equivalence import UNDERPOWERED, judge
from benchmarks.analysis.statistics.samples import describe
from benchmarks.papers.cautions import INCONSISTENT, NOT_COMPARABLE, NOT_RUN
from benchmarks.papers.claims import Claim
from benchmarks.papers.paper import paper_of
from benchmarks.papers.planning import Item
from benchmarks.papers.quantity import PLAIN
from benchmarks.papers.routes import Counted, Excluded, Measure, Trained
from benchmarks.papers.routing import on_hardware
from benchmarks.records.row import FAILED, REMARK, Row

TOLERANCES: Mapping[str, float] = {
    "top1": 0.5,
    "top5": 0.5,
    "nll": 0.02,
    "ece": 1.0,
    "diversity": 0.05,
    "box_ap": 0.5,
    "mask_ap": 0.5,
    "layers": 0.25,
    "fpi_iterations": 0.5,
}
"""Half the width of the band about a reported figure, in its unit."""

SPREADS = 2
"""A claim with a spread of its own has a band of so many of it, where that is wider."""

Rows = Mapping[str, Sequence[Row]]
"""Run id to rows."""


@dataclass(frozen=True)
class Finding:
    """A claim and what was found.

    Attributes:
        claim: what the paper reports.
        verdict: see ``docs/reproduce.md``.
        reason: why, in words.
        mean: measured or computed, in the claim's unit; None where there is nothing.
        std: sample standard deviation over seeds; None of a single one and of what is counted.
        n: seeds; 0 of what is counted.
        tolerance: what the verdict allowed; None where it was no question of that.
        more_seeds: further seeds for a verdict of an ``underpowered`` claim, if that is known.
        runs: ids of the runs behind it.
    """

    claim: Claim
    verdict: str
    reason: str
    mean: float | None = None
    std: float | None = None
    n: int = 0
    tolerance: float | None = None
    more_seeds: int | None = None
    runs: tuple[str, ...] = ()

    @property
    def difference(self) -> float | None:
        """Measured minus reported."""
        return None if self.mean is None else self.mean - float(self.claim.value)

    def as_dict(self) -> dict[str, Any]:
        """The claim's columns, then what was found."""
        return {
            **self.claim.as_dict(),
            "measured": self.mean,
            "sd": self.std,
            "n": self.n,
            "difference": self.difference,
            "tolerance": self.tolerance,
            "verdict": self.verdict,
            "more_seeds": self.more_seeds,
            "reason": self.reason,
            "runs": list(self.runs),
        }


def judge_items(items: Sequence[Item], rows: Rows) -> list[Finding]:
    """A finding for each item, in order."""
    return with_ratios([judge_item(item, rows) for item in items])


def judge_item(item: Item, rows: Rows) -> Finding:
    """The finding of one claim.

    A run that differs from what was published is never compared: what it measured stands beside
    the claim, and the reason says how they differ.
    """
    claim, how = item.claim, item.route
    if isinstance(how, Counted):
        checked = item.checked
        named = checked.counting not in ("", PLAIN)
        counting = f"by the counting {checked.counting}" if named else ""
        reason = _joined(checked.reason, counting)
        return Finding(claim, checked.verdict, reason, checked.computed)
    if isinstance(how, Excluded):
        return Finding(claim, how.verdict, how.reason)
    values, notes = measured(item, how, rows)
    found = Finding(claim, NOT_RUN, _joined(*notes), runs=tuple(job.run_id for job in item.jobs))
    if values:
        sample = describe(values)
        found = replace(found, mean=sample.mean, std=sample.std, n=sample.n)
    return _judged(found, how, values, notes)


def _judged(found: Finding, how: Trained, values: list[float], notes: list[str]) -> Finding:
    claim = found.claim
    warning = paper_of(claim.paper).caution(claim)
    if warning is not None and warning.verdict == INCONSISTENT:
        return replace(found, verdict=INCONSISTENT, reason=_joined(warning.reason, *notes))
    if on_hardware(claim):
        where = f"measured on {claim.hardware or 'hardware that the paper does not name'}"
        reason = _joined(where, *notes, *how.changes, *how.remarks)
        return replace(found, verdict=NOT_COMPARABLE, reason=reason)
    if not values:
        return replace(found, reason=_joined(*notes, *how.remarks))
    if how.changes or any(note.startswith(OTHER) for note in notes):
        return replace(found, verdict=NOT_COMPARABLE, reason=_joined(*notes, *how.changes))
    tolerance = tolerance_of(claim)
    judgement = judge(values, float(claim.value), tolerance)
    reasons = [judgement.reason]
    if judgement.verdict == UNDERPOWERED and found.n > 1:
        reasons.append(
            f"{judgement.more_seeds} more seeds would decide with a chance of 0.8"
            if judgement.more_seeds
            else "no reasonable number of seeds decides, so near to the edge it lies"
        )
    return replace(
        found,
        verdict=judgement.verdict,
        reason=_joined(*reasons, *notes, *how.remarks),
        tolerance=tolerance,
        more_seeds=judgement.more_seeds,
    )


def tolerance_of(claim: Claim) -> float:
    """Half the width of the band about a claim: the metric's, or the claim's own spread."""
    own = 0.0 if claim.spread is None else SPREADS * float(claim.spread)
    return max(TOLERANCES[claim.metric], own, claim.half_unit)


OTHER = "the search"
"""How notes begin that tell of another network than the claim's, or of a search cut short."""


def measured(item: Item, how: Trained, rows: Rows) -> tuple[list[float], list[str]]:
    """The values over seeds in the claim's unit, and what must be said of those that are not there.

    Returns:
        One value for each seed that has one; notes, such as ``seed 2 failed: out of memory``.
    """
    if item.missing:
        return [], [item.missing]
    if isinstance(how.measure, str):
        return [], [how.measure]
    values: list[float] = []
    notes: dict[str, list[int]] = {}
    for job in item.jobs:
        of_run = rows.get(job.run_id, ())
        value, remarks = _value(of_run, how.measure, how.spec.method_options)
        if value is not None:
            values.append(value * how.measure.scale)
        for note in remarks:
            notes.setdefault(note, []).append(job.seed)
    return values, [_with_seeds(note, seeds, len(item.jobs)) for note, seeds in notes.items()]


def _with_seeds(note: str, seeds: list[int], of: int) -> str:
    if len(seeds) == of:
        return note
    return f"{note} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})"


def _value(
    rows: Sequence[Row], measure: Measure, options: Mapping[str, Any]
) -> tuple[float | None, list[str]]:
    failed = [row.reason for row in rows if row.status == FAILED]
    if failed:
        return None, [f"the run failed: {failed[0]}"]
    if not rows:
        return None, ["not run yet"]
    fitting = {
        row.variant: row
        for row in rows
        if row.metric == measure.metric and row.phase == measure.phase
    }
    variant, notes = measure.variant, []
    if measure.deepest and fitting:
        variant = max(fitting, key=_depth)
        notes = _search_notes(fitting[variant], measure.variant, options)
    values = []
    for name in [variant, measure.below][: 1 + bool(measure.below)]:
        row = fitting.get(name)
        if row is None or row.value is None:
            return None, [*notes, row.reason if row else f"{measure.metric} was not measured"]
        values.append(row.value)
    if not measure.below:
        return values[0], notes
    return 100 * (1 - values[0] / values[1]), notes


def _depth(variant: str) -> int:
    found = re.match(r"depth=(\d+)/", variant)
    return int(found[1]) if found else 0


def _search_notes(row: Row, claimed: str, options: Mapping[str, Any]) -> list[str]:
    """What a search found, where that is not what the claim is about.

    A remark says that no depth met the target; a search of one depth alone is not about that.
    """
    notes = []
    if row.variant != claimed:
        notes.append(f"{OTHER} ended at {row.variant}, the claim is of {claimed}")
    if "min_depth" not in options:
        parts = (row.reason or "").split("; ")
        remarks = (part.removeprefix(REMARK) for part in parts if part.startswith(REMARK))
        notes += [remark for remark in remarks if remark.startswith(OTHER)]
    return notes


def with_ratios(findings: Sequence[Finding]) -> list[Finding]:
    """Beside training times, their ratio to the plain network's: free of the hardware."""

    def is_plain(claim: Claim) -> bool:
        return (claim.metric, claim.method, claim.variant) == ("train_time", "end_to_end", "full")

    plain = next((each for each in findings if is_plain(each.claim) and each.mean), None)
    if plain is None or plain.mean is None:
        return list(findings)
    made = []
    for each in findings:
        if each.claim.metric == "train_time" and each.mean is not None and each is not plain:
            reported = float(each.claim.value / plain.claim.value)
            ratio = f"ratio to the plain network {each.mean / plain.mean:.2f}"
            each = replace(each, reason=_joined(f"{ratio} (paper: {reported:.2f})", each.reason))
        made.append(each)
    return made


def _joined(*parts: str) -> str:
    return "; ".join(dict.fromkeys(filter(None, parts)))
