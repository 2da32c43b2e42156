"""A paper: what is known of its claims, how they are counted, and how they are trained.

Each is a file of its own, ``NAME.py``, beside its claims in ``NAME.csv``. ``verify`` uses a claim's
``quantity``, ``reproduce`` its ``route``.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from benchmarks.papers.cautions import Caution
from benchmarks.papers.claims import Claim
from benchmarks.papers.quantity import Quantity
from benchmarks.papers.routes import Excluded, Setting, Trained


class Paper:
    """The base of every paper.

    Args:
        name: of its file.
    """

    cautions: Sequence[Caution] = ()
    """Claims that cannot be taken at their word; the first that concerns a claim holds."""

    def __init__(self, name: str) -> None:
        self.name = name

    def method(self, claim: Claim) -> str:
        """The project's method that a claim is of."""
        return claim.method

    def caution(self, claim: Claim) -> Caution | None:
        """The first caution about a claim, with its reason filled in."""
        for found in self.cautions:
            if found.concerns(claim):
                return replace(found, reason=found.reason or claim.note)
        return None

    def quantity(self, claim: Claim) -> Quantity | None:
        """The figure of a claim in its unit; None for what the project cannot count."""
        return None

    def route(self, claim: Claim, setting: Setting) -> Trained | Excluded:
        """The training that a claim is of."""
        raise NotImplementedError


@cache
def paper_of(name: str) -> Paper:
    """The paper of that name, one of :func:`benchmarks.papers.claims.papers`."""
    found: Paper = importlib.import_module(f"benchmarks.papers.{name}").paper
    return found
