"""A small line plot of text: a grid of characters with both axes labelled."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

LOG_FROM = 30.0
"""Ratio of the largest to the smallest value from which on the axis is logarithmic."""


@dataclass(frozen=True)
class Signs:
    """What a plot is drawn with."""

    point: str
    line: str
    mark: str
    axis: str
    corner: str
    floor: str


UNICODE = Signs("●", "·", "┊", "┤", "└", "─")
ASCII = Signs("o", ".", ":", "|", "+", "-")


@dataclass(frozen=True)
class Ticks:
    """A line of labels below the plot: a title, and a text for each point."""

    title: str
    labels: Sequence[str]


def plot(
    xs: Sequence[float],
    ys: Sequence[float | None],
    title: str,
    width: int,
    ticks: Sequence[Ticks] = (),
    marks: Sequence[float] = (),
    height: int = 8,
    signs: Signs = UNICODE,
) -> list[str]:
    """Lines of at most ``width`` characters.

    Args:
        xs: positions of the points, increasing.
        ys: their values; None leaves a gap.
        title: the first line.
        width: characters a line.
        ticks: lines of labels below the axis; the outermost points are always labelled.
        marks: positions where a vertical line is drawn.
        height: lines of the grid.
        signs: what to draw with.
    """
    known = [(x, y) for x, y in zip(xs, ys, strict=True) if y is not None]
    if not known:
        return [f"{title}: no values"]
    values = [y for _, y in known]
    logarithmic = min(values) > 0 and max(values) / min(values) >= LOG_FROM
    scale = math.log if logarithmic else float
    low, high = scale(min(values)), scale(max(values))
    levels = [high - (high - low) * row / (height - 1) for row in range(height)]
    shown = sorted({0, height // 2, height - 1}) if high > low else [height // 2]
    texts = {row: number(math.exp(levels[row]) if logarithmic else levels[row]) for row in shown}
    margin = max(len(text) for text in (*texts.values(), *(tick.title for tick in ticks)))
    columns = max(8, width - margin - 2)

    def column(x: float) -> int:
        span = xs[-1] - xs[0]
        return round((x - xs[0]) / span * (columns - 1)) if span > 0 else columns // 2

    def line_of(y: float) -> int:
        return round((high - scale(y)) / (high - low) * (height - 1)) if high > low else height // 2

    grid = [[" "] * columns for _ in range(height)]
    for mark in marks:
        for cells in grid:
            cells[column(mark)] = signs.mark
    places = [None if y is None else (column(x), line_of(y)) for x, y in zip(xs, ys, strict=True)]
    for start, end in itertools.pairwise(places):
        if start is not None and end is not None:
            _draw(grid, start, end, signs.line)
    for place in places:
        if place is not None:
            grid[place[1]][place[0]] = signs.point
    lines = [f"{title} (log axis)" if logarithmic else title]
    for row, cells in enumerate(grid):
        lines.append(f"{texts.get(row, ''):>{margin}} {signs.axis}{''.join(cells)}".rstrip())
    lines.append(f"{'':>{margin}} {signs.corner}{signs.floor * columns}")
    centres = [column(x) for x in xs]
    for tick in ticks:
        lines.append(f"{tick.title:>{margin}}  {_labels(centres, tick.labels, columns)}".rstrip())
    return lines


def beside(left: Sequence[str], right: Sequence[str], gap: int = 4) -> list[str]:
    """Two blocks of lines next to each other."""
    width = max(map(len, left), default=0) + gap
    rows = max(len(left), len(right))
    pairs = zip(_padded(left, rows), _padded(right, rows), strict=True)
    return [f"{a:<{width}}{b}".rstrip() for a, b in pairs]


def number(value: float) -> str:
    """Four significant digits, as short as they get."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e7:
        digits = max(0, 3 - math.floor(math.log10(abs(value))))
        text = f"{value:.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.3g}"


def _draw(grid: list[list[str]], start: tuple[int, int], end: tuple[int, int], sign: str) -> None:
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    for step in range(1, steps):
        column = round(start[0] + (end[0] - start[0]) * step / steps)
        row = round(start[1] + (end[1] - start[1]) * step / steps)
        grid[row][column] = sign


def _labels(centres: Sequence[int], labels: Sequence[str], columns: int) -> str:
    """Labels under their points: the outermost first, then what fits between them."""
    line = [" "] * columns
    order = [0, len(labels) - 1, *_between(1, len(labels) - 2)]
    taken: list[tuple[int, int]] = []
    for index in dict.fromkeys(order):
        text = labels[index]
        start = min(max(0, centres[index] - len(text) // 2), max(0, columns - len(text)))
        end = start + len(text)
        if end > columns or any(start < b + 2 and a < end + 2 for a, b in taken):
            continue
        taken.append((start, end))
        line[start:end] = text
    return "".join(line)


def _between(first: int, last: int) -> list[int]:
    """The middle, then the middles of both halves, and so on."""
    order, spans = [], [(first, last)]
    while spans:
        low, high = spans.pop(0)
        if low > high:
            continue
        middle = (low + high) // 2
        order.append(middle)
        spans += [(low, middle - 1), (middle + 1, high)]
    return order


def _padded(lines: Sequence[str], rows: int) -> list[str]:
    return [*lines, *[""] * (rows - len(lines))]
