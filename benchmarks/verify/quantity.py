"""A figure computed for a claim, by every counting that makes sense for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

PLAIN = "plain"
"""The project's own count: all stored parameters, all multiply-adds, all bytes of a state dict."""


@dataclass(frozen=True)
class Quantity:
    """One quantity, in the unit of the claim.

    Attributes:
        values: by counting, ``PLAIN`` among them.
        own: the counting that the paper uses.
        remark: what a reader must know about how it was computed.
        doubt: why the printed figure may differ, for where it does.
    """

    values: Mapping[str, float]
    own: str = PLAIN
    remark: str = ""
    doubt: str = ""

    def __truediv__(self, unit: float) -> Quantity:
        return replace(self, values={name: value / unit for name, value in self.values.items()})


def reduction(small: Quantity, whole: Quantity) -> Quantity:
    """By how many percent ``small`` is below ``whole``, each counting by itself."""
    values = {name: 100 * (1 - small.values[name] / whole.values[name]) for name in whole.values}
    return replace(small, values=values)
