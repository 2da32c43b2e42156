"""Which network of a table is the best in a column, where the seeds can carry that."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.analysis.columns import Column
from benchmarks.analysis.compare.pairs import Sample, common_seeds, judge_samples
from benchmarks.analysis.compare.verdicts import ALPHA, BETTER
from benchmarks.analysis.summary import Cell, Line

BOLD = (
    "Bold: better than every other of the same task, data set and architecture, each by a paired "
    f"t test over seeds at {ALPHA:g}, or by a count."
)


def supported_best(lines: Sequence[Line], columns: Sequence[Column]) -> set[tuple[int, str]]:
    """Cells that are better than each other one of their column and setting.

    ``better`` is that of ``depthbench compare``; as the best mean must be better than all, the
    level needs no correction. What belongs to a whole run is one quantity of all its variants. No
    cell is the best where one of its rivals, or itself, was measured on a busy machine.

    Returns:
        Pairs of a line's number and a column's key.
    """
    settings: dict[tuple[str, str, str], list[int]] = {}
    for number, line in enumerate(lines):
        settings.setdefault(line.network.setting, []).append(number)
    candidates: list[tuple[list[int], str, range]] = []
    samples: list[Sample] = []
    for column in columns:
        if not column.info.better:
            continue
        for numbers in settings.values():
            if any(lines[number].cells[column.key].busy for number in numbers):
                continue
            first, *rivals = _ranked(lines, numbers, column) or [[]]
            pairs = [
                common_seeds(_cell(lines[first[0]], column), _cell(lines[rival[0]], column))
                for rival in rivals
            ]
            if pairs:
                places = range(len(samples), len(samples) + len(pairs))
                candidates.append((first, column.key, places))
                samples += [(a, b, column) for _, a, b in pairs]
    verdicts = judge_samples(samples)
    return {
        (number, key)
        for numbers, key, places in candidates
        if all(verdicts[place].word == BETTER for place in places)
        for number in numbers
    }


def _ranked(lines: Sequence[Line], numbers: Sequence[int], column: Column) -> list[list[int]]:
    """The lines of each quantity that was measured, the best first."""
    quantities: dict[object, list[int]] = {}
    for number in numbers:
        cell = _cell(lines[number], column)
        if cell.mean is not None:
            quantity = lines[number].method if cell.of_run else (lines[number].method, number)
            quantities.setdefault(quantity, []).append(number)
    sign = 1.0 if column.info.better == "lower" else -1.0
    return sorted(
        quantities.values(), key=lambda same: sign * (_cell(lines[same[0]], column).mean or 0.0)
    )


def _cell(line: Line, column: Column) -> Cell:
    return line.cells[column.key]
