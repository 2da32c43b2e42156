"""Where a run's joules went, and whether its two meters and its curve agree on them.

The rows hold no joules of the whole run: windows share their boundary readings, so that their sum
is the whole. What it is checked by is the second measure of the same windows, the integral of
sampled power, and the joules that the curve has at the last validation.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.explain.balance import UNKNOWN, Balance, Part, balanced, bounded
from benchmarks.explain.subject import Subject
from benchmarks.explain.time_balance import seconds_of, timed_phases
from benchmarks.records import OK, Row

COUNTER, INTEGRAL, ERROR = "energy_gpu_counter", "energy_gpu_integrated", "energy_gpu_error"
IDLE, PACKAGE = "energy_idle", "energy_cpu_package"
DIVERGENCE = 0.05
"""Share by which counter and integral may differ: more is flagged in their rows, too."""
_NAMES = {
    "": "training",
    "first_step": "first step",
    "evaluate": "evaluation",
    "checkpoint": "checkpoints",
    "counted": "steps whose operations were counted",
    "outside": "the method outside the budget",
}


def energy_balances(run: Subject) -> list[Balance]:
    """The sums of each meter that there was; nothing where there was none."""
    found = []
    if _measured(run, COUNTER) or _measured(run, INTEGRAL):
        found += [_two_measures(run), *_idle(run)]
    if _measured(run, PACKAGE):
        found.append(_package(run))
    curve = _curve(run)
    return [*found, *([] if curve is None else [curve])]


def idle_joules(run: Subject) -> float | None:
    """What the device would have drawn idle over all windows."""
    rows = _measured(run, IDLE)
    return sum(_value(row) for row in rows) if rows else None


def _two_measures(run: Subject) -> Balance:
    source = COUNTER if _measured(run, COUNTER) else INTEGRAL
    other = INTEGRAL if source == COUNTER else ""
    second = {(row.phase, _window(row)): _value(row) for row in _measured(run, other)}
    errors = {(row.phase, _window(row)): _value(row) for row in _measured(run, ERROR)}
    parts = _parts(run, source)
    both = [
        (row.phase, _window(row))
        for row in _measured(run, source)
        if (row.phase, _window(row)) in second
    ]
    title = "all windows, by the counter" if source == COUNTER else "all windows, by sampled power"
    if not both:
        why = "there is one measure alone: nothing to check it by"
        return Balance(title, "J", tuple(parts), None, INTEGRAL, 0.0, UNKNOWN, why)
    if len(both) < len(_measured(run, source)):
        why = "the second measure is missing for some of the windows"
        return Balance(title, "J", tuple(parts), None, INTEGRAL, 0.0, UNKNOWN, why)
    whole = sum(second[key] for key in both)
    error = sum(errors.get(key, 0.0) for key in both)
    return balanced(
        title,
        "J",
        parts,
        ("integral of sampled power", whole),
        error + DIVERGENCE * whole,
        f"errors of counter and sampling gaps ({error:.3g} J) and {DIVERGENCE:.0%} for sampling",
        "power was sampled at peaks and missed the dips, or the counter was read late",
        "power peaks fell between two samples, which the counter has seen",
    )


def _idle(run: Subject) -> list[Balance]:
    idle, measured = idle_joules(run), _measured(run, COUNTER) or _measured(run, INTEGRAL)
    if idle is None:
        return []
    total = sum(_value(row) for row in measured)
    error = sum(_value(row) for row in _measured(run, ERROR))
    return [
        bounded(
            "idle draw inside the whole",
            "J",
            [Part("idle draw over the same time", idle)],
            ("all windows", total),
            error,
            "what the run drew on top of it",
            "the device was not idle when its idle draw was sampled",
        )
    ]


def _package(run: Subject) -> Balance:
    why = "there is one meter alone: nothing to check it by"
    parts = tuple(_parts(run, PACKAGE))
    return Balance("all windows, CPU packages", "J", parts, None, PACKAGE, 0.0, UNKNOWN, why)


def _curve(run: Subject) -> Balance | None:
    """The curve's joules are those of training, by the meter of what trains."""
    last = next((p["joules"] for p in reversed(run.curve) if p.get("joules") is not None), None)
    source = COUNTER if run.part("device").get("type") == "cuda" else PACKAGE
    rows = [row for row in _measured(run, source) if not _window(row)]
    phases = timed_phases(run)
    # A phase whose energy was refused is in the curve, and in no row.
    if last is None or not rows or len(rows) < len(phases):
        return None
    errors = [row for row in _measured(run, ERROR) if not _window(row)]
    total = sum(_value(row) for row in rows)
    sampled = total / max(seconds_of(run, "train_time", phases) or 0.0, 1e-9) * 0.1
    return bounded(
        "the curve's joules",
        "J",
        [Part("training up to the last validation", last)],
        (f"{source} of all phases", total),
        sum(_value(row) for row in errors) + sampled,
        "training after it",
        "curve and rows are not of the same run, or one of them was changed",
    )


def _parts(run: Subject, source: str) -> list[Part]:
    several = len(timed_phases(run)) > 1
    found = []
    for row in run.rows:
        if row.metric.split("@")[0] == source:
            name = _NAMES.get(_window(row), _window(row))
            name = f"{row.phase}: {name}" if several else name
            found.append(Part(name, row.value, row.reason))
    return found


def _measured(run: Subject, source: str) -> Sequence[Row]:
    return [row for row in run.rows if row.metric.split("@")[0] == source and row.status == OK]


def _window(row: Row) -> str:
    return row.metric.partition("@")[2]


def _value(row: Row) -> float:
    assert row.value is not None
    return row.value
