"""A sum that must hold, and by how much it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

HOLDS, MISSES, UNKNOWN = "ok", "misses", "unknown"
EQUAL, WITHIN = "equal", "within"
"""What the parts must do: give the whole, or fit into it."""


@dataclass(frozen=True)
class Part:
    """A term of a sum.

    Attributes:
        name: in words.
        value: None where it was not measured.
        note: why not, or what else there is to say.
    """

    name: str
    value: float | None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """A mapping that JSON can hold."""
        return {"name": self.name, "value": self.value, "note": self.note}


@dataclass(frozen=True)
class Balance:
    """Parts beside the whole that they must give.

    Attributes:
        title: what is added up.
        unit: of all values.
        parts: the terms; those without a value are left out of the sum.
        whole: what was measured as a whole; None where nothing was.
        whole_name: what that is.
        tolerance: by how much the sum may miss the whole.
        verdict: ``ok``, ``misses`` or ``unknown``.
        why: where the tolerance is from, or why the sum may miss or cannot be checked.
        relation: ``equal`` where the parts must give the whole, ``within`` where they must fit
            into it: then what fills it up is the last part, where the sum holds.
    """

    title: str
    unit: str
    parts: tuple[Part, ...]
    whole: float | None
    whole_name: str
    tolerance: float
    verdict: str
    why: str
    relation: str = EQUAL

    @property
    def total(self) -> float:
        """The sum of the parts that were measured."""
        return sum(part.value for part in self.parts if part.value is not None)

    @property
    def missing(self) -> float | None:
        """The whole less the sum: above zero where parts are missing."""
        return None if self.whole is None else self.whole - self.total

    def as_dict(self) -> dict[str, Any]:
        """A mapping that JSON can hold."""
        return {
            "title": self.title,
            "unit": self.unit,
            "parts": [part.as_dict() for part in self.parts],
            "sum": self.total,
            "whole": self.whole,
            "whole_name": self.whole_name,
            "missing": self.missing,
            "tolerance": self.tolerance,
            "verdict": self.verdict,
            "why": self.why,
            "relation": self.relation,
        }


def balanced(
    title: str,
    unit: str,
    parts: Sequence[Part],
    whole: tuple[str, float | None],
    tolerance: float,
    why: str,
    short: str,
    over: str,
) -> Balance:
    """Judge a sum: equal within a tolerance.

    Args:
        title: what is added up.
        unit: of all values.
        parts: the terms.
        whole: its name and value.
        tolerance: in ``unit``.
        why: where the tolerance is from.
        short: why the parts may give less than the whole.
        over: why they may give more.
    """
    name, value = whole
    measured = [part.value for part in parts if part.value is not None]
    if value is None or not measured:
        verdict, why = UNKNOWN, "nothing was measured to check it by"
    elif abs(value - sum(measured)) <= tolerance:
        verdict = HOLDS
    else:
        verdict, why = MISSES, short if value > sum(measured) else over
    return Balance(title, unit, tuple(parts), value, name, tolerance, verdict, why)


def bounded(
    title: str,
    unit: str,
    parts: Sequence[Part],
    whole: tuple[str, float | None],
    tolerance: float,
    rest: str,
    over: str,
) -> Balance:
    """Judge parts that need not fill the whole, but must fit into it.

    Args:
        title: what is added up.
        unit: of all values.
        parts: the terms.
        whole: its name and value.
        tolerance: in ``unit``.
        rest: what fills the rest.
        over: why the parts may give more than the whole.
    """
    name, value = whole
    measured = [part.value for part in parts if part.value is not None]
    if value is None or not measured:
        verdict, why = UNKNOWN, "nothing was measured to check it by"
    elif sum(measured) <= value + tolerance:
        verdict, why = HOLDS, ""
        parts = [*parts, Part(rest, max(0.0, value - sum(measured)))]
    else:
        verdict, why = MISSES, over
    return Balance(title, unit, tuple(parts), value, name, tolerance, verdict, why, WITHIN)
