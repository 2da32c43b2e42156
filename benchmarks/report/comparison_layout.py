"""Columns of text, aligned."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(headings: Sequence[str], lines: Sequence[Sequence[str]], right: Sequence[str]) -> str:
    """A table with a rule under its headings.

    Args:
        headings: of the columns.
        lines: cells, as many as headings in each line.
        right: the headings of columns that are aligned to the right: numbers.
    """
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]

    def show(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if heading in right else cell.ljust(width)
            for cell, width, heading in zip(cells, widths, headings, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([show(headings), "  ".join("-" * w for w in widths), *map(show, lines)])
