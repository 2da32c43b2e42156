"""What a metric is: its unit, which way is better, how tables show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How a metric is stored and shown.

    Args:
        unit: the base unit that values are stored in.
        better: ``"higher"``, ``"lower"`` or ``""`` where neither is meant.
        shown: the unit of tables; empty for the base unit.
        scale: base units in one shown unit.
        title: the column heading; empty for the metric's name.
    """

    unit: str
    better: str
    title: str = ""
    shown: str = ""
    scale: float = 1.0
