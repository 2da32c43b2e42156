"""Text in the cells of CSV files, which spreadsheets take for a formula if it begins like one.

Such a text gets an apostrophe in front, as OWASP advises ("CSV Injection"); numbers stay as
they are. Files that are read back lose it again.
"""

from __future__ import annotations

from collections.abc import Iterable

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_BEGIN = (*_FORMULA, "'")


def written(text: str) -> str:
    """``text`` for a cell: with an apostrophe if it begins like a formula and is no number."""
    return f"'{text}" if text[:1] in _BEGIN and _is_formula(text) else text


def record(values: Iterable[object]) -> list[object]:
    """A line for :class:`csv.writer`, its texts as :func:`written`."""
    return [written(value) if isinstance(value, str) else value for value in values]


def read(cell: str) -> str:
    """The text that :func:`written` was given."""
    return cell[1:] if cell[:1] == "'" and _is_formula(cell) else cell


def _is_formula(text: str) -> bool:
    # What begins with apostrophes already gets one more, so that reading gives it back.
    begin = text.lstrip("'")
    if begin[:1] not in _FORMULA or not begin:
        return False
    return begin != text or not _is_number(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
