"""A meter that fails costs its own rows and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from benchmarks.records import Measurement

log = logging.getLogger("depthbench")


def guarded(
    metrics: Sequence[str], measure: Callable[[], Iterable[Measurement]]
) -> list[Measurement]:
    """What ``measure`` gives; if it raises anything, ``metrics`` without a value and the reason.

    The traceback goes to the run's log. An interrupt passes.
    """
    try:
        return list(measure())
    except Exception as error:
        log.exception("%s could not be measured", ", ".join(metrics))
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return [Measurement(metric, None, reason) for metric in metrics]
