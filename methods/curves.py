"""What a method reads off the validations of a phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Curve = Sequence[Mapping[str, float]]
"""One mapping a validation: ``epoch`` (from 1) and the metrics."""


def stale_epochs(curve: Curve, metric: str) -> int:
    """Epochs since the last validation that was better than all before it."""
    top, since = float("-inf"), 0.0
    for point in curve:
        value = point[metric]
        if value is not None and value > top:
            top, since = value, point["epoch"]
    return int(curve[-1]["epoch"] - since) if curve else 0
