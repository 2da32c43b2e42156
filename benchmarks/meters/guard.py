"""A meter that fails costs its own rows and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from benchmarks.records.row import Measurement
from tasks.errors import UserError

log = logging.getLogger("depthbench")

LONGEST = 300
"""Characters of a reason that an error gives."""


def guarded(
    metrics: Sequence[str], measure: Callable[[], Measurement | Iterable[Measurement]]
) -> list[Measurement]:
    """The measurements of a meter or, where it raises anything, a reason in the row of each.

    The traceback goes to the run's log. An interrupt passes.

    Args:
        metrics: what the meter measures; its rows where it fails.
        measure: gives one measurement or several.
    """
    try:
        found = measure()
        return [found] if isinstance(found, Measurement) else list(found)
    except Exception as error:
        if not isinstance(error, UserError):
            log.exception("%s could not be measured", ", ".join(metrics))
        return [Measurement(metric, None, reason_of(error)) for metric in metrics]


def reason_of(error: Exception) -> str:
    """An error in one line: a user's error as it is, another with its type."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return text
    found = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return found if len(found) <= LONGEST else found[: LONGEST - 3] + "..."
