"""Replacement Learning: no table of its results is at hand, and no claim names its row."""

from __future__ import annotations

from benchmarks.papers.cautions import NOT_COMPARABLE, NOT_RUN, Caution
from benchmarks.papers.claims import Claim
from benchmarks.papers.paper import Paper
from benchmarks.papers.routes import (
    Excluded,
    Setting,
)

CAUTIONS = (
    Caution(
        NOT_COMPARABLE,
        {"variant": "row not named by the source", "metric": "top1"},
        "the source names neither the row nor its recipe: quoted by a public reviewer of the 2024 "
        "version",
    ),
    Caution(
        NOT_COMPARABLE,
        {"task": "language-modelling"},
        "language modelling is none of the project's tasks, and the model and its tokenisation "
        "are unknown",
    ),
)


class ReplacementLearning(Paper):
    """Replacement Learning (2024, arXiv 2410.01239; 2026, arXiv 2605.19533)."""

    cautions = CAUTIONS

    def route(self, claim: Claim, setting: Setting) -> Excluded:
        """Nothing to run: what reaches this has no recipe."""
        return Excluded(NOT_RUN, f"the source gives no recipe for {claim.arch} on {claim.dataset}")


paper = ReplacementLearning("repl")
