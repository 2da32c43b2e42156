"""A verdict for every claim: computed and compared, or why not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.analysis.statistics.equivalence import CONTRADICTED, REPRODUCED
from benchmarks.papers.cautions import NOT_COMPARABLE, NOT_RUN
from benchmarks.papers.claims import EXACT, ON_HARDWARE, Claim
from benchmarks.papers.paper import paper_of
from benchmarks.papers.quantity import PLAIN, Quantity
from methods.base import METHODS
from tasks.base import TASKS
from tasks.errors import UserError

_ROUNDING = 1e-9
"""A figure that ends in 5 may be rounded either way, whatever binary fractions say."""


@dataclass(frozen=True)
class Checked:
    """A claim and its verdict.

    ``computed`` is in the claim's unit and by ``counting``; ``plain`` is the project's own count.
    Both are None where nothing was computed.
    """

    claim: Claim
    verdict: str
    reason: str
    computed: float | None = None
    counting: str = ""
    plain: float | None = None

    @property
    def difference(self) -> float | None:
        """Computed minus reported."""
        return None if self.computed is None else self.computed - float(self.claim.value)

    def as_dict(self) -> dict[str, Any]:
        """The claim's columns, then what was found."""
        return {
            **self.claim.as_dict(),
            "computed": self.computed,
            "difference": self.difference,
            "counting": self.counting,
            "plain": self.plain,
            "verdict": self.verdict,
            "reason": self.reason,
        }


def verify(claims: Iterable[Claim]) -> list[Checked]:
    """A verdict for each claim, in order."""
    return [check(claim) for claim in claims]


def check(claim: Claim) -> Checked:
    """Compute what follows from the network alone, and say of everything else why not."""
    try:
        found = quantity(claim)
    except UserError as error:  # a package that does not work here, which only some claims need
        return Checked(claim, NOT_RUN, str(error))
    warning = paper_of(claim.paper).caution(claim)
    if warning is not None:
        if found is None:
            return Checked(claim, warning.verdict, warning.reason)
        counting, value = found.own, found.values[found.own]
        plain = found.values[PLAIN]
        return Checked(claim, warning.verdict, warning.reason, value, counting, plain)
    if found is not None:
        return compare(claim, found)
    return Checked(claim, *not_checked(claim))


def quantity(claim: Claim) -> Quantity | None:
    """The claim's figure as computed; None where it is no exact one or cannot be had."""
    return paper_of(claim.paper).quantity(claim) if claim.metric in EXACT else None


def compare(claim: Claim, found: Quantity) -> Checked:
    """Reproduced if a counting rounds to the printed figure, the paper's own one first.

    The tolerance is half a unit of the last printed digit. Where a convention that the paper does
    not state moves the figure by more than that, figures within its reach are not comparable.
    """
    plain = found.values[PLAIN]
    own = found.values[found.own]
    near = abs(own - float(claim.value)) <= found.band + claim.half_unit
    if near and found.band > claim.half_unit:
        reason = f"computed {own:.5g}, printed {claim.value}; {found.convention}"
        return Checked(claim, NOT_COMPARABLE, reason, own, found.own, plain)
    for counting in dict.fromkeys((found.own, PLAIN, *found.values)):
        value = found.values[counting]
        if abs(value - float(claim.value)) <= claim.half_unit + _ROUNDING:
            reason = found.remark
            if counting != found.own:
                other = f"{found.own}, the paper's own counting, gives {own:.4g}"
                reason = "; ".join(filter(None, (other, reason)))
            return Checked(claim, REPRODUCED, reason, value, counting, plain)
    by_value: dict[str, list[str]] = {}
    for counting, value in found.values.items():
        by_value.setdefault(f"{value:.5g}", []).append(counting)
    counts = ", ".join(f"{value} ({', '.join(names)})" for value, names in by_value.items())
    reason = f"computed {counts}, printed {claim.value} ± {claim.half_unit:g}"
    reason = "; ".join(filter(None, (reason, found.remark, found.doubt)))
    return Checked(claim, CONTRADICTED, reason, own, found.own, plain)


def not_checked(claim: Claim) -> tuple[str, str]:
    """Verdict and reason for a claim that was not computed."""
    if claim.task not in TASKS.names():
        return NOT_RUN, f"the task {claim.task} is not in the project"
    if paper_of(claim.paper).method(claim) not in METHODS.names():
        return NOT_RUN, f"method not in the project: {claim.method}"
    if claim.metric in ON_HARDWARE:
        where = claim.hardware or "hardware that the paper does not name"
        return NOT_COMPARABLE, "; ".join(filter(None, (f"measured on {where}", claim.note)))
    if claim.metric in EXACT:
        return NOT_RUN, f"how to count {claim.metric} of {claim.arch} is not known here"
    return NOT_RUN, f"needs training on {claim.dataset}"
