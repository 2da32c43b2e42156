"""Where a run's seconds, joules and bytes went: parts beside a whole that was measured apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.records.row import OK, Row
from benchmarks.report.card.folder import RunFolder

HOLDS, MISSES, UNKNOWN = "ok", "misses", "unknown"
EQUAL, WITHIN = "equal", "within"
Sum = dict[str, Any]
"""See :func:`add_up`."""

_WINDOWS = (
    ("warmup_time", "first_step", "first step"),
    ("train_time", "", "training"),
    ("eval_time", "evaluate", "evaluation"),
    ("checkpoint_time", "checkpoint", "checkpoints"),
    ("counting_time", "counted", "steps whose operations were counted"),
    ("unbudgeted_time", "outside", "the method outside the budget"),
)
"""Metric of the time, what follows "@" in metrics of energy, and name."""
_LATER = ("counting_time", "unbudgeted_time")
"""Earlier versions wrote no rows of these."""
_BYTES = {
    "mem_parameters": "parameters and buffers",
    "mem_gradients": "gradients",
    "mem_optimizer": "optimizer state",
    "mem_activations": "activations",
    "mem_rest": "rest of the step's peak",
}
_COUNTER, _INTEGRAL, _PACKAGE = "energy_gpu_counter", "energy_gpu_integrated", "energy_cpu_package"
_READING = 1e-6
"""Seconds by which sums of the same clock readings may differ, in another order of adding."""
_ROUNDING = 1e-3
"""Seconds to which the manifest rounds the length of a process."""
_DIVERGENCE = 0.05
"""Share by which counter and integral may differ: more is flagged in their rows, too."""
_SLACK = 0.1
"""Share of the peak by which one step taken apart, or a reading of NVML, may miss it."""
_CHANGED = "or one of them was changed"


def add_up(
    title: str,
    parts: Sequence[tuple[str, float | None, str]],
    whole: tuple[str, float | None],
    tolerance: float,
    miss: str,
    rest: str = "",
    why: str = "",
    unit: str = "s",
) -> Sum:
    """Judge a sum.

    Args:
        title: what is added up.
        parts: name, value and remark of each term; None is left out, and its remark says why.
        whole: its name and value; None where nothing was measured to check the sum by.
        tolerance: by how much the sum may miss the whole.
        miss: why it may miss it by more.
        rest: what fills the rest, where parts need only fit into the whole; empty where they must
            be equal to it.
        why: where the tolerance is from, or why there is no whole.
        unit: of all values.

    Returns:
        ``title``, ``unit``, ``parts`` (with the rest, where they fit), ``sum``, ``whole``,
        ``whole_name``, ``missing`` (the whole less the sum), ``tolerance``, ``verdict`` (``ok``,
        ``misses`` or ``unknown``), ``why``, ``relation`` (``equal`` or ``within``).
    """
    name, value = whole
    measured = [part[1] for part in parts if part[1] is not None]
    total = sum(measured)
    verdict = HOLDS
    if value is None or not measured:
        verdict, why = UNKNOWN, (why if value is None else "") or "nothing was measured to check it"
    elif total - value > tolerance or (not rest and value - total > tolerance):
        verdict, why = MISSES, miss
    elif rest:
        why = ""
        parts = [*parts, (rest, max(0.0, value - total), "")]
        total = max(value, total)
    return {
        "title": title,
        "unit": unit,
        "parts": [dict(zip(("name", "value", "note"), part, strict=True)) for part in parts],
        "sum": total,
        "whole": value,
        "whole_name": name,
        "missing": None if value is None else value - total,
        "tolerance": tolerance,
        "verdict": verdict,
        "why": why,
        "relation": WITHIN if rest else EQUAL,
    }


def time_sums(run: RunFolder) -> list[Sum]:
    """Each phase's windows, what lies inside training, the curve's clock, the processes."""
    phases = _timed_phases(run)
    found = [each for phase in phases for each in _windows(run, phase)]
    if run.curve and run.curve[-1].get("seconds") is not None:
        # In a phase without train_time what was waited for is in no other row.
        untimed = [p for p in phases if run.value("train_time", p) is None]
        spent = (("train_time", phases), ("charged_time", phases), ("data_time", untimed))
        whole = sum(run.value(metric, *names) or 0.0 for metric, names in spent)
        found.append(_of_curve("clock", run, "seconds", ("train_time and charged_time", whole)))
    segments = run.listed("segments")
    lengths = [s["seconds"] for s in segments if isinstance(s.get("seconds"), int | float)]
    killed = len(segments) - len(lengths)
    processes = add_up(
        "the process" if len(segments) == 1 else f"the {len(segments)} processes",
        [(f"windows of phase {p}", run.value("total_time", p), "") for p in phases],
        ("seconds of the processes", sum(lengths) if lengths and not killed else None),
        _ROUNDING * len(segments),
        "a process cannot be shorter than what was timed in it: rows or manifest were changed",
        rest="outside the windows: building, idle draw, costing, writing",
        why=f"{killed} of {len(segments)} processes were killed, and have no recorded length"
        if segments
        else "the manifest lists no process",
    )
    return [*found, processes]


def energy_sums(run: RunFolder) -> list[Sum]:
    """The sums of each meter that there was; nothing where there was none.

    Windows share their boundary readings, so their sum is the whole. It is checked by the second
    measure of the same windows, the integral of sampled power, and by the curve's joules.
    """
    counter, integral = _joules(run, _COUNTER), _joules(run, _INTEGRAL)
    idle, errors = _joules(run, "energy_idle"), _joules(run, "energy_gpu_error")
    found = []
    if counter:
        found.append(_windows_by_meter(run, "the counter", _COUNTER, integral))
    elif integral:
        found.append(_windows_by_meter(run, "sampled power", _INTEGRAL, {}))
    if found and idle:
        found.append(
            add_up(
                "idle draw inside the whole",
                [("idle draw over the same time", sum(idle.values()), "")],
                ("all windows", sum((counter or integral).values())),
                sum(errors.values()),
                "the device was not idle when its idle draw was sampled",
                rest="what the run drew on top of it",
                unit="J",
            )
        )
    if _joules(run, _PACKAGE):
        found.append(_windows_by_meter(run, "the CPU packages", _PACKAGE, {}))
    metric = _COUNTER if run.part("device").get("type") == "cuda" else _PACKAGE
    trained = [value for (_, window), value in _joules(run, metric).items() if not window]
    phases = _timed_phases(run)
    # A phase whose energy was refused is in the curve, and in no row.
    if trained and len(trained) == len(phases) and _column(run, "joules"):
        second = sum(trained) / max(run.value("train_time", *phases) or 0.0, 1e-9)
        error = sum(value for (_, window), value in errors.items() if not window) + 0.1 * second
        found.append(_of_curve("joules", run, "joules", (metric, sum(trained)), error, "J"))
    return found


def memory_sums(run: RunFolder) -> list[Sum]:
    """One training step beside the peak of the run; on a GPU also each kind of peak in the next."""
    peaks: dict[str, float] = {}
    for row in run.rows:
        if row.value is not None:
            peaks[row.metric] = max(peaks.get(row.metric, 0.0), row.value)
    allocated = peaks.get("mem_peak_allocated")
    if allocated is None:
        parts = [_part(name, run.row(m, "setup")) for m, name in _BYTES.items() if m != "mem_rest"]
        return [
            add_up(
                "one training step inside the process",
                parts,
                ("mem_peak_resident", peaks.get("mem_peak_resident")),
                0.0,
                "pages were swapped out, or a row was changed: what a step needs is resident",
                rest="interpreter, libraries, data, and what else the process held",
                why="no peak of memory was measured",
                unit="B",
            )
        ]
    step = add_up(
        "one training step beside the peak of training",
        [_part(name, run.row(metric, "setup")) for metric, name in _BYTES.items()],
        ("mem_peak_allocated", allocated),
        _SLACK * allocated,
        "a step of training took more than this one, or its parts are not all alive at the peak",
        why=f"one step represents the run: {_SLACK:.0%} of the peak",
        unit="B",
    )
    found = [step]
    for inner, outer, slack, rest in (
        ("allocated", "reserved", 0.0, "reserved by the allocator and not in use"),
        ("reserved", "process", _SLACK, "CUDA context and libraries"),
    ):
        part, whole = f"mem_peak_{inner}", f"mem_peak_{outer}"
        if part in peaks and whole in peaks:
            miss = "the readings are not of the same moment, or a row was changed"
            values = [(part, peaks[part], "")], (whole, peaks[whole]), slack * peaks[whole]
            found.append(add_up(f"inside {whole}", *values, miss, rest, unit="B"))
    return found


def _windows(run: RunFolder, phase: str) -> list[Sum]:
    total, train = run.value("total_time", phase), run.value("train_time", phase)
    rows = [(name, metric, run.row(metric, phase)) for metric, _, name in _WINDOWS]
    parts = [_part(name, row) for name, metric, row in rows if row or metric not in _LATER]
    waiting = _part("waiting for data", run.row("data_time", phase))
    if train is None:
        # What was waited for is inside training, unless nothing but the first step was trained.
        parts.append(waiting)
    windows = add_up(
        f"phase {phase}",
        parts,
        ("total_time", total),
        _READING + 1e-9 * (total or 0.0),
        "a window has no row of its own, a stretch was counted twice, or a row was changed",
        why="the same clock readings, added in another order",
    )
    if train is None or waiting[1] is None:
        return [windows]
    title, rest = f"inside training of phase {phase}", "steps, and what hooks do between them"
    miss = f"training holds the wait for its data: rows are not of the same run, {_CHANGED}"
    return [windows, add_up(title, [waiting], ("train_time", train), _READING, miss, rest)]


def _windows_by_meter(
    run: RunFolder, meter: str, metric: str, second: dict[tuple[str, str], float]
) -> Sum:
    """All windows of a meter, checked by a second measure of the same windows."""
    names, several = {window: name for _, window, name in _WINDOWS}, len(_timed_phases(run)) > 1
    parts = []
    for row in run.rows:
        base, _, window = row.metric.partition("@")
        if base == metric:
            name = names.get(window, window)
            parts.append(_part(f"{row.phase}: {name}" if several else name, row))
    first, errors = _joules(run, metric), _joules(run, "energy_gpu_error")
    both = [key for key in first if key in second]
    error = sum(errors.get(key, 0.0) for key in both)
    whole = sum(second[key] for key in both) if len(both) == len(first) else None
    why = f"errors of counter and sampling gaps ({error:.3g} J) and {_DIVERGENCE:.0%} for sampling"
    if whole is None:
        why = "the second measure is missing for some of the windows"
    if not both:
        why = "there is one measure alone: nothing to check it by"
    return add_up(
        f"all windows, by {meter}",
        parts,
        ("integral of sampled power", whole),
        error + _DIVERGENCE * (whole or 0.0),
        "power was sampled at peaks alone or at dips alone, or the counter was read late",
        why=why,
        unit="J",
    )


def _of_curve(
    title: str,
    run: RunFolder,
    column: str,
    whole: tuple[str, float],
    tolerance: float = _READING,
    unit: str = "s",
) -> Sum:
    """The last validation must not be ahead of the training that the rows have."""
    parts = [("training up to the last validation", _column(run, column)[-1], "")]
    miss = f"curve and rows are not of the same run, {_CHANGED}"
    whole = (f"{whole[0]} of all phases", whole[1])
    return add_up(
        f"the curve's {title}", parts, whole, tolerance, miss, "training after it", unit=unit
    )


def _column(run: RunFolder, column: str) -> list[float]:
    return [point[column] for point in run.curve if point.get(column) is not None]


def _timed_phases(run: RunFolder) -> list[str]:
    return list(dict.fromkeys(row.phase for row in run.rows if row.metric == "total_time"))


def _joules(run: RunFolder, metric: str) -> dict[tuple[str, str], float]:
    """What was measured, by phase and window."""
    return {
        (row.phase, row.metric.partition("@")[2]): row.value
        for row in run.rows
        if row.metric.split("@")[0] == metric and row.status == OK and row.value is not None
    }


def _part(name: str, row: Row | None) -> tuple[str, float | None, str]:
    return (name, None, "there is no such row") if row is None else (name, row.value, row.reason)
