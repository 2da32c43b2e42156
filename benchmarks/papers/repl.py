"""Replacement Learning: no table of its results is at hand, and no claim names its row."""

from __future__ import annotations

from benchmarks.papers.cautions import NOT_RUN
from benchmarks.papers.claims import Claim
from benchmarks.papers.routes import Excluded, Setting


def route(claim: Claim, setting: Setting) -> Excluded:
    """Nothing to run: what reaches this has no recipe."""
    return Excluded(NOT_RUN, f"the source gives no recipe for {claim.arch} on {claim.dataset}")
