"""Effects that count: ``top1=0.5`` in the metric's base unit, ``train_time=5%`` of its value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.analysis.columns import Column
from benchmarks.records.row import metric_info
from tasks.errors import UserError, unknown_name


@dataclass(frozen=True)
class Size:
    """A size from 0 up: in the metric's base unit, or a fraction of the value."""

    amount: float
    relative: bool = False

    def of(self, value: float) -> float:
        """In the metric's base unit, for a value of it."""
        return self.amount * abs(value) if self.relative else self.amount


def parse_sizes(texts: Iterable[str], columns: Sequence[Column], option: str) -> dict[str, Size]:
    """Metric to size, of what was given on the command line.

    Args:
        texts: ``METRIC=SIZE`` or ``METRIC=PERCENT%``.
        columns: what is compared; the metric must be one of these.
        option: where the texts come from, for an error.

    Raises:
        UserError: a text is of another form, or its metric unknown or not compared.
    """
    sizes = {}
    compared = [column.metric for column in columns]
    for text in texts:
        metric, _, written = (part.strip() for part in text.partition("="))
        amount = _number(written.removesuffix("%"))
        if amount is None:
            raise UserError(
                f"cannot read {option} '{text}': write it as top1=0.5, in the metric's own unit, "
                "or as train_time=5%"
            )
        info = metric_info(metric)
        if metric not in compared:
            raise unknown_name(f"metric of {option} in this comparison", metric, compared)
        relative = written.endswith("%")
        if relative and info.unit == "%":
            raise UserError(
                f"{option} '{text}' could be points or a share of the value: {metric} is in %, so "
                f"write {metric}={written[:-1]} for points"
            )
        sizes[metric] = Size(amount / 100 if relative else amount, relative)
    return sizes


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
