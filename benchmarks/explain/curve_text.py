"""A run's learning curve as plots of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.explain.plot import ASCII, UNICODE, Ticks, beside, number, plot
from benchmarks.records import metric_info

SIDE_BY_SIDE = 110
"""Characters a line from which on both plots stand next to each other."""
_WIDEST = 72
_GAP = 4


def curve_lines(document: Mapping[str, Any], width: int, plain: bool) -> list[str]:
    """The headline metric and the training loss against epochs and seconds of training.

    Points are placed by batches, over all phases; a dotted line is the start of a phase.
    """
    points: Sequence[Mapping[str, Any]] = document["curve"]["points"]
    if not points:
        return [document["curve"]["missing"]] if document["curve"]["missing"] else []
    places, starts = _positions(points)
    headline = document["quality"]["headline"]
    wide = width >= SIDE_BY_SIDE
    each = min((width - _GAP) // 2 if wide else width, _WIDEST)
    ticks = [Ticks("epoch", [str(point["epoch"]) for point in points])]
    if all(point.get("seconds") is not None for point in points):
        ticks.append(Ticks("seconds", [number(point["seconds"]) for point in points]))
    drawn = []
    for column, title in ((headline, _title(headline)), ("train_loss", "training loss")):
        if not column or all(point.get(column) is None for point in points):
            continue
        values = [point.get(column) for point in points]
        signs = ASCII if plain else UNICODE
        drawn.append(plot(places, values, title, each, ticks, list(starts)[1:], signs=signs))
    if len(drawn) == 2 and wide:
        lines = beside(drawn[0], drawn[1], _GAP)
    else:
        lines = [line for block in drawn for line in [*block, ""]][:-1]
    if len(starts) > 1:
        lines.append(f"phases, from left to right: {', '.join(starts.values())}")
    return lines


def _positions(points: Sequence[Mapping[str, Any]]) -> tuple[list[int], dict[int, str]]:
    """Batches over all phases at each point, and where each phase starts."""
    places: list[int] = []
    before, last = 0, None
    starts: dict[int, str] = {}
    for point in points:
        if last is None or point["phase"] != last["phase"] or point["step"] < last["step"]:
            before = places[-1] if places else 0
            starts[before] = point["phase"]
        places.append(before + point["step"])
        last = point
    return places, starts


def _title(metric: str) -> str:
    info = metric_info(metric) if metric else None
    unit = f" ({info.unit})" if info and info.unit else ""
    return f"{info.title}{unit} on validation" if info else ""
