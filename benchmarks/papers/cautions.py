"""Claims that cannot be taken at their word, and why.

Facts about the papers, not about the project: figures that exclude each other, networks that are
not described, rows that are not named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.papers.claims import Claim

INCONSISTENT = "inconsistent"
NOT_COMPARABLE = "not comparable"
NOT_RUN = "not run"


Where = Mapping[str, str | tuple[str, ...]]


@dataclass(frozen=True)
class Caution:
    """A verdict on some claims before anything is computed.

    Attributes:
        verdict: what the claims get.
        where: the claims meant, by column; several values are alternatives.
        reason: empty where the claim's own note says it.
    """

    verdict: str
    where: Where
    reason: str = ""

    def concerns(self, claim: Claim) -> bool:
        """Whether a claim is meant."""
        return all(
            getattr(claim, column) == wanted
            if isinstance(wanted, str)
            else getattr(claim, column) in wanted
            for column, wanted in self.where.items()
        )
