"""Budgets: how long a run may train, in one or more units; targets: a quality and its cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.records.row import METRICS, metric_info
from tasks.errors import UserError, unknown_name

_BOUGHT: dict[str, Callable[[float, int, int], float]] = {
    "epochs": lambda amount, batches_per_epoch, batch_size: amount * batches_per_epoch,
    "samples": lambda amount, batches_per_epoch, batch_size: amount / batch_size,
    "steps": lambda amount, batches_per_epoch, batch_size: amount,
}
"""What an amount pays for, not yet rounded: batches, of ``steps`` optimizer steps."""

COUNTED: tuple[str, ...] = tuple(_BOUGHT)
"""Currencies whose price of a step is known before the first one."""
METERED: tuple[str, ...] = ("seconds", "joules", "train_flops")
"""Currencies that a meter reads while a run trains."""
UNITS: tuple[str, ...] = COUNTED + METERED

_WORDS = {"train_flops": "training FLOPs"}


@dataclass(frozen=True)
class Budget:
    """What every run of a comparison may spend on training.

    Args:
        amounts: how much of each unit, above zero; fractions are allowed (half an epoch). Of
            several, the one that is exhausted first ends training.

    Raises:
        UserError: there is none, a unit is unknown, or an amount is no positive finite number.
    """

    amounts: Mapping[str, float]

    def __post_init__(self) -> None:
        if not isinstance(self.amounts, Mapping) or not self.amounts:
            raise UserError(
                "a budget is an amount of a unit, such as {epochs: 10}; "
                f"known units: {', '.join(UNITS)}"
            )
        for unit in self.amounts:
            if unit not in UNITS:
                raise unknown_name("budget unit", str(unit), UNITS)
        amounts = {c: _amount(self.amounts[c], c) for c in UNITS if c in self.amounts}
        object.__setattr__(self, "amounts", amounts)

    @classmethod
    def parse(cls, value: Budget | Mapping[str, Any] | str) -> Budget:
        """Read ``{"epochs": 10}``, ``"epochs=10"`` or ``"epochs=10,seconds=600"``.

        Raises:
            UserError: it is none of these.
        """
        if isinstance(value, Budget):
            return value
        if not isinstance(value, str):
            return cls(value)
        amounts: dict[str, float] = {}
        for part in value.split(","):
            unit, equals, amount = (piece.strip() for piece in part.partition("="))
            if not equals:
                raise UserError(f"cannot read the budget '{value}': write it as epochs=10")
            if unit in amounts:
                raise UserError(f"cannot read the budget '{value}': duplicate '{unit}'")
            try:
                amounts[unit] = float(amount)
            except ValueError:
                raise UserError(
                    f"cannot read the budget '{value}': '{amount}' is not a number"
                ) from None
        return cls(amounts)

    @property
    def metered(self) -> dict[str, float]:
        """The amounts that a meter has to watch."""
        return {c: amount for c, amount in self.amounts.items() if c in METERED}

    def as_dict(self) -> dict[str, float]:
        """The form that :meth:`parse` reads back."""
        return dict(self.amounts)

    def total_batches(
        self, batches_per_epoch: int, batch_size: int, accumulate: float = 1
    ) -> int | None:
        """Batches of the whole run by the counted units, a started one counted in full.

        Args:
            batches_per_epoch: batches in one epoch.
            batch_size: images that a batch really holds.
            accumulate: batches that make one optimizer step; below 1 where one makes several.

        Returns:
            The smallest number that a unit gives; None where only meters end the run.

        Raises:
            UserError: the budget is smaller than a single batch.
        """
        found = []
        for unit in COUNTED:
            if unit not in self.amounts:
                continue
            bought = _BOUGHT[unit](self.amounts[unit], batches_per_epoch, batch_size)
            # Ten times 0.1 epochs of 30 steps must not become one step more by a rounding error.
            nearest = round(bought)
            bought = nearest if math.isclose(bought, nearest, rel_tol=1e-9) else bought
            if bought < 1:
                raise UserError(
                    f"a budget of {_shown(unit, self.amounts[unit])} is less than one "
                    f"step ({batch_size} images, {batches_per_epoch} steps in an epoch): give a "
                    "larger budget or a smaller batch"
                )
            found.append(math.ceil(math.ceil(bought) * (accumulate if unit == "steps" else 1)))
        return min(found, default=None)

    def __str__(self) -> str:
        """``10 epochs``, ``1 epoch``; ``10 epochs or 60 seconds, whichever is spent first``."""
        shown = [_shown(unit, amount) for unit, amount in self.amounts.items()]
        return " or ".join(shown) + (", whichever is spent first" if len(shown) > 1 else "")


def spent_fraction(
    batches: int,
    total_batches: int | None,
    spent: Mapping[str, float],
    metered: Mapping[str, float],
) -> float:
    """How much of a budget is spent: that of the unit that is nearest to its end.

    Args:
        batches: trained on so far.
        total_batches: that the counted units pay for; None for no limit.
        spent: amounts spent of the metered units.
        metered: their budget.

    Returns:
        0 for nothing; 1 and above once the budget is exhausted.
    """
    parts = [spent[unit] / amount for unit, amount in metered.items()]
    if total_batches is not None:
        parts.append(batches / total_batches)
    return _whole(max(parts))


_ROUNDING = 1e-9


@dataclass(frozen=True)
class Part:
    """The part of a budget that one phase may spend, as fractions of the whole.

    Args:
        start: the fraction that was spent when the phase began.
        share: the fraction that the phase may spend, as far as it is there.
    """

    start: float
    share: float = 1.0

    def progress(self, fraction: float) -> float:
        """How far the phase is when ``fraction`` of the run's budget is spent: 1 at its end."""
        length = min(self.share, 1.0 - self.start)
        return 1.0 if length <= 0 else _whole(max(0.0, fraction - self.start) / length)


def _whole(fraction: float) -> float:
    """1 for what is 1 but for the rounding of sums of seconds, which no further step is due to."""
    return 1.0 if 1 - _ROUNDING < fraction < 1 else fraction


def _amount(value: Any, unit: str) -> float:
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number <= 0:
        raise UserError(f"budget must be a positive finite number, got {unit}={value}")
    return number


def _shown(unit: str, amount: float) -> str:
    name = _WORDS.get(unit, unit)
    if amount == 1:
        name = name.removesuffix("s")
    whole = amount >= 1e6 and unit in COUNTED
    return f"{amount:.0f} {name}" if whole else f"{amount:g} {name}"


@dataclass(frozen=True)
class Target:
    """A value of a metric on validation.

    Args:
        value: in the metric's base unit.
        metric: its name; empty for the primary metric of whatever task is run.

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
        # A task may declare further metrics: `require_known` is for where it is known.
        if self.metric in METRICS:
            self.require_known()

    def require_known(self) -> None:
        """Refuse a metric that there is not, or of which neither more nor less is better.

        Raises:
            UserError: it is one.
        """
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
            headline: the task's primary metric.
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
