"""Numbers, tables, bars and folded lines for a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from tabulate import tabulate

LOG_FROM = 30.0
"""Ratio of the largest to the smallest value from which on bars are logarithmic."""


def number(value: float) -> str:
    """Four significant digits, as short as they get."""
    if not 1e-3 <= abs(value) < 1e7:
        return f"{value:.3g}"
    text = f"{value:.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def bars(values: Sequence[float | None], length: int, plain: bool) -> list[str]:
    """A bar a value: one sign for the lowest, ``length`` for the highest."""
    known = [value for value in values if value is not None]
    scale = math.log if min(known) > 0 and max(known) / min(known) >= LOG_FROM else float
    low, span = scale(min(known)), scale(max(known)) - scale(min(known))
    shares = [None if v is None else (scale(v) - low) / span if span else 1.0 for v in values]
    sign = "#" if plain else "█"
    return ["" if s is None else sign * (1 + round(s * max(1, length - 1))) for s in shares]


def table_lines(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Columns, or a line of pairs for each row where they have no room."""
    if not rows:
        return []
    cells = [headings, *([textwrap.fill(row[0], 30), *row[1:]] for row in rows)]
    starts = [
        "".join(cell.lstrip("-")[:1] for cell in column) for column in zip(*rows, strict=True)
    ]
    align = ["left", *("right" if any(map(str.isdigit, each)) else "left" for each in starts[1:])]
    # Headings as a row: tabulate would widen their columns.
    text = tabulate(cells, tablefmt="plain", disable_numparse=True, colalign=align)
    lines = [line.rstrip() for line in text.splitlines()]
    if max(map(len, lines)) <= width:
        return lines
    pairs = [zip(headings[1:], row[1:], strict=True) for row in rows]
    texts = [", ".join(f"{name} {cell}" for name, cell in each if name) for each in pairs]
    return [f"{row[0]}: {text}" for row, text in zip(rows, texts, strict=True)]


def wrapped(line: str, width: int) -> list[str]:
    """Long sentences broken; commands and drawings stay whole."""
    if len(line) <= width or line.lstrip().startswith("depthbench "):
        return [line]
    return folded(line, width, len(line) - len(line.lstrip()) + 2)


def folded(line: str, width: int, hanging: int) -> list[str]:
    """A line broken between words, those after the first with an indent."""
    indent = " " * hanging
    return textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
