"""All checks: each takes the method under test and says what it saw."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.conformance.finding import Finding
from benchmarks.conformance.subject import Subject
from benchmarks.conformance.training_checks import (
    accumulates,
    autocasts,
    changes,
    channels_last,
    gradients,
    holds,
    learns,
    repeats,
    resumes,
    untrained,
    updates,
)
from benchmarks.conformance.variant_checks import analyses, costs, deploys, exports, saves

CHECKS: tuple[Callable[[Subject], Finding], ...] = (
    learns,
    changes,
    repeats,
    resumes,
    saves,
    exports,
    deploys,
    analyses,
    untrained,
    updates,
    holds,
    gradients,
    costs,
    autocasts,
    accumulates,
    channels_last,
)
"""All checks in the order of the report."""
