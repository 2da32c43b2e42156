"""How long is left, and how durations are written."""

from __future__ import annotations

from collections.abc import Sequence


def time_left(
    estimates: Sequence[float | None],
    finished: Sequence[tuple[float | None, float]],
    current: tuple[float | None, float] | None = None,
) -> float | None:
    """Seconds until the last run ends, or None while nothing is known.

    Estimates count training steps alone, so they are scaled by what finished runs really took.
    A run without an estimate is taken to be as long as the mean finished run.

    Args:
        estimates: of the runs that wait, in seconds.
        finished: estimate and measured seconds of the runs that this process ran.
        current: estimate of the run under way, and the seconds it has had so far.
    """
    pairs = [(estimate, taken) for estimate, taken in finished if estimate]
    scale = sum(t for _, t in pairs) / sum(e for e, _ in pairs) if pairs else 1.0
    mean = sum(taken for _, taken in finished) / len(finished) if finished else None

    def expected(estimate: float | None) -> float | None:
        return mean if estimate is None else estimate * scale

    parts = [expected(estimate) for estimate in estimates]
    if current is not None:
        whole = expected(current[0])
        parts.append(None if whole is None else max(0.0, whole - current[1]))
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def duration(seconds: float | None) -> str:
    """``8.3 s``, ``4 min 05 s``, ``2 h 10 min``; a question mark for None."""
    if seconds is None:
        return "?"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
