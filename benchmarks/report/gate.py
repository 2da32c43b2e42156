"""What the gate found, as text."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from benchmarks.analysis.compare.gate import FAILURES, NEW, UNJUDGED, Check
from benchmarks.analysis.compare.reference import Entry, Key
from benchmarks.report.comparison import number, show_p, signed, times
from benchmarks.report.comparison_layout import aligned
from benchmarks.report.layout import MISSING, heading


def show_tests(checks: Sequence[Check]) -> str:
    """A line for each quantity that was tested; empty where none was."""
    tested = [check for check in checks if check.tested is not None]
    if not tested:
        return ""
    headings = ["network", "metric", "before", "after", "change", "test", "p", "verdict"]
    right = ("before", "after", "change", "p")
    return aligned(headings, [_cells(check) for check in tested], right) + "\n"


def show_rest(checks: Sequence[Check]) -> list[str]:
    """A sentence for each that was not tested; those that differ in their network alone as one."""
    notes: dict[tuple[str, str, str], list[str]] = {}
    for check in checks:
        if check.tested is None:
            what = heading(check.key.column) if check.key.metric else ""
            notes.setdefault((check.word, what, check.reason), []).append(name(check.key))
    return [
        f"{word}: {', '.join(filter(None, (what, '; '.join(networks))))}: {reason}"
        for (word, what, reason), networks in notes.items()
    ]


def conclusion(checks: Sequence[Check], alpha: float, strict: bool) -> str:
    """The last line: whether the gate passed, and on how much."""
    judged = sum(check.tested is not None for check in checks)
    tests = sum(check.p_adjusted is not None for check in checks)
    counts = {
        word: sum(check.word == word for check in checks)
        for word in dict.fromkeys(check.word for check in checks)
        if word in FAILURES | UNJUDGED | {NEW}
    }
    notes = "".join(f", {count} {word}" for word, count in counts.items())
    verdict = "failed" if fails(checks, strict) else "passed"
    sure = (
        f" p is adjusted for {tests} tests (Benjamini and Hochberg): had nothing changed, the gate "
        f"would fail with a chance of at most {alpha:g}."
        if tests
        else ""
    )
    return f"gate {verdict}: {judged} judged{notes}.{sure}"


def fails(checks: Sequence[Check], strict: bool) -> bool:
    """Whether the gate fails; under ``strict`` also for what could not be judged."""
    refused = FAILURES | UNJUDGED if strict else FAILURES
    return any(check.word in refused for check in checks)


def name(key: Key) -> str:
    """``digits, cifar_resnet26, replacement, folded``."""
    return ", ".join(filter(None, (key.dataset, key.arch, key.method, key.variant)))


def _cells(check: Check) -> list[str]:
    tested, column = check.tested, check.key.column
    before, after = _mean(check.before), _mean(check.after)
    if tested is None or before is None or after is None:
        raise ValueError("only what was tested has a line")
    change = signed(after - before, column, before)
    if column.is_cost and min(before, after) > 0:
        change = f"{times(after / before)}×"
    return [
        name(check.key),
        heading(column),
        f"{number(before, column)} (n = {_count(check.before)})",
        f"{number(after, column, before)} (n = {_count(check.after)})",
        change,
        tested.test,
        MISSING if check.p_adjusted is None else show_p(check.p_adjusted),
        check.word + _sure(check),
    ]


def _sure(check: Check) -> str:
    """How sure a worsening is."""
    if check.word not in FAILURES:
        return ""
    if check.p_adjusted is None:
        return " (without noise)"
    return f" ({min(99.9, 100 * (1 - check.p_adjusted)):.1f} % confidence)"


def _mean(entry: Entry | None) -> float | None:
    return fmean(entry.values.values()) if entry and entry.values else None


def _count(entry: Entry | None) -> int:
    return len(entry.values) if entry else 0
