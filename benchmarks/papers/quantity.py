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
        band: by how much a convention that the paper does not state moves the figure.
        convention: what it is.
    """

    values: Mapping[str, float]
    own: str = PLAIN
    remark: str = ""
    doubt: str = ""
    band: float = 0.0
    convention: str = ""

    def __truediv__(self, unit: float) -> Quantity:
        values = {name: value / unit for name, value in self.values.items()}
        return replace(self, values=values, band=self.band / unit)


def reduction(small: Quantity, whole: Quantity) -> Quantity:
    """By how many percent ``small`` is below ``whole``, each counting by itself."""
    values = {name: 100 * (1 - small.values[name] / whole.values[name]) for name in whole.values}
    part, all_of_it = small.values[PLAIN], whole.values[PLAIN]
    band = 100 * (small.band / all_of_it + part * whole.band / all_of_it**2)
    return replace(small, values=values, band=band)
