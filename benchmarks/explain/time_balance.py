"""Where a run's seconds went, and whether they add up."""

from __future__ import annotations

from benchmarks.explain.balance import UNKNOWN, Balance, Part, balanced, bounded
from benchmarks.explain.subject import Subject
from benchmarks.records import OK, Row

_WINDOWS = {
    "warmup_time": "first step",
    "train_time": "training",
    "eval_time": "evaluation",
    "checkpoint_time": "checkpoints",
}
_LATER_WINDOWS = {
    "counting_time": "steps whose operations were counted",
    "unbudgeted_time": "the method outside the budget",
}
"""Windows that earlier versions had no rows of."""
_READING = 1e-6
"""Seconds by which sums of the same clock readings may differ, in another order of adding."""
_ROUNDING = 1e-3
"""Seconds to which the manifest rounds the length of a process."""


def time_balances(run: Subject) -> list[Balance]:
    """The sums of a finished run: each phase's windows, what lies inside training, the process."""
    phases = timed_phases(run)
    found = []
    for phase in phases:
        found.append(_windows(run, phase))
        waiting = _waiting(run, phase)
        if waiting is not None:
            found.append(waiting)
    curve = _curve(run, phases)
    return [*found, *([] if curve is None else [curve]), _process(run, phases)]


def timed_phases(run: Subject) -> list[str]:
    """The phases that have a ``total_time``."""
    return list(dict.fromkeys(row.phase for row in run.rows if row.metric == "total_time"))


def seconds_of(run: Subject, metric: str, phases: list[str]) -> float | None:
    """A time summed over phases; None where no phase has it."""
    values = [run.value(metric, phase) for phase in phases]
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _windows(run: Subject, phase: str) -> Balance:
    parts = [_part(name, run.row(metric, phase)) for metric, name in _WINDOWS.items()]
    parts += [
        _part(name, run.row(metric, phase))
        for metric, name in _LATER_WINDOWS.items()
        if run.row(metric, phase) is not None
    ]
    train = run.row("train_time", phase)
    if train is None or train.status != OK:
        # What was waited for is inside training, unless nothing but the first step was trained.
        parts.append(_part("waiting for data", run.row("data_time", phase)))
    total = run.value("total_time", phase)
    return balanced(
        f"phase {phase}",
        "s",
        parts,
        ("total_time", total),
        _READING + 1e-9 * (total or 0.0),
        "the same clock readings, added in another order",
        "a window that has no row of its own, or a row that was changed",
        "a stretch was counted twice, or a row was changed",
    )


def _waiting(run: Subject, phase: str) -> Balance | None:
    train = run.value("train_time", phase)
    if train is None or run.value("data_time", phase) is None:
        return None
    return bounded(
        f"inside training of phase {phase}",
        "s",
        [_part("waiting for data", run.row("data_time", phase))],
        ("train_time", train),
        _READING,
        "steps, and what hooks do between them",
        "one of the two rows was changed, for training holds the wait for its data",
    )


def _curve(run: Subject, phases: list[str]) -> Balance | None:
    """The clock at the last validation must not be ahead of the training that the rows tell."""
    if not run.curve or run.curve[-1].get("seconds") is None:
        return None
    untimed = [p for p in phases if run.value("train_time", p) is None]
    train = seconds_of(run, "train_time", phases) or 0.0
    train += seconds_of(run, "charged_time", phases) or 0.0
    train += seconds_of(run, "data_time", untimed) or 0.0
    return bounded(
        "the curve's clock",
        "s",
        [Part("training up to the last validation", run.curve[-1]["seconds"])],
        ("train_time and charged_time of all phases", train),
        _READING,
        "training after it",
        "curve and rows are not of the same run, or one of them was changed",
    )


def _process(run: Subject, phases: list[str]) -> Balance:
    segments = run.listed("segments")
    lengths = [segment.get("seconds") for segment in segments]
    parts = [Part(f"windows of phase {p}", run.value("total_time", p)) for p in phases]
    title = "the process" if len(segments) == 1 else f"the {len(segments)} processes"
    killed = sum(1 for length in lengths if length is None)
    if killed or not segments:
        return Balance(
            title,
            "s",
            tuple(parts),
            None,
            "seconds of the processes",
            0.0,
            UNKNOWN,
            f"{killed} of {len(segments)} processes were killed, and told no length"
            if segments
            else "the manifest lists no process",
        )
    return bounded(
        title,
        "s",
        parts,
        ("seconds of the processes", sum(float(length) for length in lengths if length)),
        _ROUNDING * len(segments),
        "outside the windows: building, idle draw, costing, writing",
        "a process cannot be shorter than what was timed in it: rows or manifest were changed",
    )


def _part(name: str, row: Row | None) -> Part:
    if row is None:
        return Part(name, None, "there is no such row")
    return Part(name, row.value, row.reason)
