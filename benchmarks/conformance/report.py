"""The report of the kit, for readers and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.conformance.checking import Checked, CheckedTask
from benchmarks.conformance.figures import Figure
from benchmarks.conformance.finding import FAILED, PASSED, SKIPPED, Finding
from benchmarks.conformance.settings import shown_arch
from benchmarks.records.row import METRICS

_MARKS = {PASSED: "pass", FAILED: "FAIL", SKIPPED: "skip"}


def as_text(checked: Checked, verbose: bool = False) -> str:
    """A line a check, the figures, and how many checks passed.

    Args:
        checked: what :func:`benchmarks.conformance.checking.check_method` gave.
        verbose: with the tracebacks of crashed checks.
    """
    tried_on = f"{checked.dataset}, {shown_arch(checked.arch)}, {checked.epochs} epochs"
    lines = [f"{checked.label} on {tried_on}", "", *finding_lines(checked.findings, verbose)]
    if checked.figures:
        lines += ["", *figure_lines(checked.figures)]
    return "\n".join([*lines, "", total(checked.findings, checked.seconds)])


def task_text(checked: CheckedTask, verbose: bool = False) -> str:
    """A line a check of a task, and how many checks passed."""
    lines = [f"{checked.label}: {checked.dataset}", "", *finding_lines(checked.findings, verbose)]
    return "\n".join([*lines, "", total(checked.findings, checked.seconds)])


def finding_lines(findings: Sequence[Finding], verbose: bool) -> list[str]:
    """A line for each finding, and those that follow it."""
    width = max(len(finding.check) for finding in findings)
    return [line for finding in findings for line in line_of(finding, width, verbose)]


def total(findings: Sequence[Finding], seconds: float) -> str:
    """How many checks passed, failed and were skipped, and how long they took."""
    number = Counter(finding.status for finding in findings)
    counts = ", ".join(f"{number[status]} {status}" for status in _MARKS if number[status])
    return f"{counts} in {seconds:.0f} s"


def line_of(finding: Finding, width: int, verbose: bool) -> list[str]:
    """A finding; how to fix it follows."""
    lines = [f"  {_MARKS[finding.status]}  {finding.check:<{width}}  {finding.seen}"]
    if finding.fix:
        lines.append(f"        {'':<{width}}  fix: {finding.fix}")
    if verbose and finding.traceback:
        lines += [f"        {line}" for line in finding.traceback.rstrip().splitlines()]
    return lines


def figure_lines(figures: Sequence[Figure]) -> list[str]:
    """The figures beside those of plain training."""
    rows = [("figure", "variant", "method", "end_to_end")]
    rows += [
        (
            f"{metric.title} ({unit})" if (unit := metric.shown or metric.unit) else metric.title,
            figure.variant,
            shown_value(figure.method, metric.scale),
            shown_value(figure.end_to_end, metric.scale),
        )
        for figure in figures
        for metric in [METRICS[figure.metric]]
    ]
    first, second, third, fourth = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [f"  {a:<{first}}  {b:<{second}}  {c:>{third}}  {d:>{fourth}}" for a, b, c, d in rows]


def as_document(checked: Sequence[Checked], tasks: Sequence[CheckedTask] = ()) -> dict[str, Any]:
    """What ``--json`` prints; figures are in base units."""
    return {
        "passed": all(one.passed for one in checked) and all(one.passed for one in tasks),
        "tasks": [
            {
                "task": one.task,
                "options": dict(one.options),
                "dataset": one.dataset,
                "passed": one.passed,
                "seconds": one.seconds,
                "checks": [vars(finding) for finding in one.findings],
            }
            for one in tasks
        ],
        "methods": [
            {
                "method": one.method,
                "options": dict(one.options),
                "task": one.task,
                "dataset": one.dataset,
                "arch": one.arch,
                "epochs": one.epochs,
                "passed": one.passed,
                "seconds": one.seconds,
                "checks": [vars(finding) for finding in one.findings],
                "figures": [vars(figure) for figure in one.figures],
            }
            for one in checked
        ],
    }


def shown_value(value: float | None, scale: float) -> str:
    """In the unit of tables; a dash where there is none."""
    return "–" if value is None else f"{value / scale:.2f}"
