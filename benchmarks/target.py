"""A quality to be reached, whose price in time, energy and operations is asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.records import METRICS, metric_info
from tasks.errors import UserError


@dataclass(frozen=True)
class Target:
    """A value of a metric on validation.

    Args:
        value: in the metric's base unit.
        metric: its name; empty for the headline metric of whatever task is run.

    Raises:
        UserError: no finite number, or no metric of which more or less is better.
    """

    value: float
    metric: str = ""

    def __post_init__(self) -> None:
        number = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        if not number or not math.isfinite(self.value):
            raise UserError(f"a target is a number, not {self.value!r}: write it as top1: 95")
        object.__setattr__(self, "value", float(self.value))
        if self.metric and not metric_info(self.metric).better:
            raise UserError(
                f"{self.metric} cannot be a target: neither more nor less of it is better"
            )

    @classmethod
    def parse(cls, value: Any) -> Target | None:
        """Read ``95``, ``{"top1": 95}``, or None for no target.

        Raises:
            UserError: it is none of these.
        """
        if value is None or isinstance(value, Target):
            return value
        if not isinstance(value, Mapping):
            return cls(value)
        if len(value) != 1:
            raise UserError("a target is one value of one metric, such as {top1: 95}")
        ((metric, number),) = value.items()
        return cls(number, str(metric))

    def written(self) -> float | dict[str, float]:
        """The form that :meth:`parse` reads back."""
        return {self.metric: self.value} if self.metric else self.value

    def reached(self, curve: Sequence[Mapping[str, Any]], headline: str) -> int | None:
        """The first validation of a curve at the target or better; None where there is none.

        Args:
            curve: a mapping a validation, with the metrics that it gave.
            headline: the task's headline metric.
        """
        metric = self.metric or headline
        better = METRICS[metric].better
        for number, point in enumerate(curve):
            value = point.get(metric)
            if value is not None and (
                value <= self.value if better == "lower" else value >= self.value
            ):
                return number
        return None
