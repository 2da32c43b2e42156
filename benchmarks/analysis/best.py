"""Which network of a table is the best in a column, where the seeds can carry that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.analysis.columns import Column
from benchmarks.analysis.statistics.paired import PairedDifference, paired_differences
from benchmarks.analysis.summary import Cell, Line

ALPHA = 0.05
EXACT = (
    *("params", "params_trainable", "params_inference", "macs", "macs_per_pass"),
    *("train_flops", "weights_bytes", "disk_size"),
)
"""Counts: equal over seeds unless the method makes them differ. ``macs_executed`` is none: it is a
mean over test images that follows from trained weights."""

BOLD = (
    "Bold: better than every other of the same task, data set and architecture, each by a paired "
    f"t test over seeds at {ALPHA:g}, or by a count."
)


def supported_best(lines: Sequence[Line], columns: Sequence[Column]) -> set[tuple[int, str]]:
    """Cells that are better than all others of their column and setting, beyond noise.

    The best mean must beat each other network by the paired t test, two-sided; as it must beat
    all, the level needs no correction. Costs are tested by their ratios, as logarithms. Seeds
    that differ by a constant are an exact difference; of counts one seed is enough. What belongs to
    a whole run is one quantity of all its variants. No cell is the best where one of its rivals, or
    itself, was measured on a busy machine.

    Returns:
        Pairs of a line's number and a column's key.
    """
    settings: dict[tuple[str, str, str], list[int]] = {}
    for number, line in enumerate(lines):
        settings.setdefault(line.network.setting, []).append(number)
    asked: list[tuple[list[int], str, list[int]]] = []
    samples: list[tuple[list[float], list[float]]] = []
    found: set[tuple[int, str]] = set()
    for column in columns:
        if not column.info.better:
            continue
        for numbers in settings.values():
            if any(lines[number].cells[column.key].busy for number in numbers):
                continue
            winners, rivals = _rank(lines, numbers, column)
            pairs = [_pair(lines[winners[0]], lines[rival], column) for rival in rivals]
            if pairs and all(len(a) > 1 for a, _ in pairs):
                places = list(range(len(samples), len(samples) + len(pairs)))
                asked.append((winners, column.key, places))
                samples += pairs
            elif pairs and _is_exact(column) and all(a and a != b for a, b in pairs):
                found |= {(number, column.key) for number in winners}
    differences = paired_differences([a for a, _ in samples], [b for _, b in samples], None)
    for winners, key, places in asked:
        if all(_differs(differences[place]) for place in places):
            found |= {(number, key) for number in winners}
    return found


def _rank(
    lines: Sequence[Line], numbers: Sequence[int], column: Column
) -> tuple[list[int], list[int]]:
    """The lines of the best quantity, and one line of each other quantity."""
    quantities: dict[object, list[int]] = {}
    for number in numbers:
        cell = lines[number].cells[column.key]
        if cell.mean is not None:
            quantity = lines[number].method if cell.of_run else (lines[number].method, number)
            quantities.setdefault(quantity, []).append(number)
    sign = 1.0 if column.info.better == "lower" else -1.0
    ordered = sorted(
        quantities.values(), key=lambda same: sign * (_cell(lines[same[0]], column).mean or 0.0)
    )
    return (ordered[0], [same[0] for same in ordered[1:]]) if ordered else ([], [])


def _pair(best: Line, other: Line, column: Column) -> tuple[list[float], list[float]]:
    """Values of the seeds that both have; logarithms of costs."""
    mine, theirs = _cell(best, column).values, _cell(other, column).values
    pairs = [
        (mine[seed], theirs[seed])
        for seed in mine
        if isinstance(mine[seed], float | int) and isinstance(theirs.get(seed), float | int)
    ]
    a, b = [float(x) for x, _ in pairs], [float(y) for _, y in pairs]
    if column.is_cost and pairs and min(*a, *b) > 0:
        a, b = np.log(a).tolist(), np.log(b).tolist()
    return a, b


def _cell(line: Line, column: Column) -> Cell:
    return line.cells[column.key]


def _is_exact(column: Column) -> bool:
    return column.metric.split("@")[0] in EXACT


def _differs(difference: PairedDifference) -> bool:
    if difference.p_value is None:
        return difference.mean != 0
    return difference.p_value <= ALPHA
