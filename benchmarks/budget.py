"""How long a run may train: a number in one currency, turned into optimizer steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.errors import UserError, unknown_name

_COUNTED: dict[str, Callable[[float, int, int], float]] = {
    "epochs": lambda amount, steps_per_epoch, batch_size: amount * steps_per_epoch,
    "samples": lambda amount, steps_per_epoch, batch_size: amount / batch_size,
    "steps": lambda amount, steps_per_epoch, batch_size: amount,
}
"""Steps (not yet rounded) that an amount buys, for the currencies that are known beforehand."""

CURRENCIES: tuple[str, ...] = tuple(_COUNTED)


@dataclass(frozen=True)
class Budget:
    """An amount of one currency: every method of a comparison gets the same.

    Args:
        amount: how much, above zero; fractions are allowed (half an epoch).
        currency: one of ``CURRENCIES``.

    Raises:
        UserError: the amount is not a positive finite number, or the currency is unknown.
    """

    amount: float
    currency: str

    def __post_init__(self) -> None:
        if self.currency not in CURRENCIES:
            raise unknown_name("budget currency", str(self.currency), CURRENCIES)
        number = isinstance(self.amount, int | float) and not isinstance(self.amount, bool)
        if not number or not math.isfinite(self.amount) or self.amount <= 0:
            raise UserError(
                f"a budget of {self.amount} {self.currency} buys no training: "
                "give a number above zero"
            )
        object.__setattr__(self, "amount", float(self.amount))

    @classmethod
    def parse(cls, value: Budget | Mapping[str, Any] | str) -> Budget:
        """Read ``{"epochs": 10}`` or ``"epochs=10"``.

        Raises:
            UserError: it is neither, or names more than one currency.
        """
        if isinstance(value, Budget):
            return value
        if isinstance(value, str):
            currency, equals, amount = (part.strip() for part in value.partition("="))
            if not equals:
                raise UserError(f"cannot read the budget '{value}': write it as epochs=10")
            try:
                return cls(float(amount), currency)
            except ValueError:
                raise UserError(
                    f"cannot read the budget '{value}': '{amount}' is not a number"
                ) from None
        if not isinstance(value, Mapping) or len(value) != 1:
            raise UserError(
                "a budget is one amount in one currency, such as {epochs: 10}; "
                f"known currencies: {', '.join(CURRENCIES)}"
            )
        ((currency, amount),) = value.items()
        return cls(amount, currency)

    def as_dict(self) -> dict[str, float]:
        """The form that :meth:`parse` reads back."""
        return {self.currency: self.amount}

    def total_steps(self, steps_per_epoch: int, batch_size: int) -> int:
        """Optimizer steps of the whole run, a started step counted in full.

        Args:
            steps_per_epoch: optimizer steps in one epoch.
            batch_size: images that one optimizer step consumes.

        Raises:
            UserError: the budget is smaller than a single step.
        """
        steps = _COUNTED[self.currency](self.amount, steps_per_epoch, batch_size)
        # Ten times 0.1 epochs of 30 steps must not become one step more for a rounding error.
        nearest = round(steps)
        steps = nearest if math.isclose(steps, nearest, rel_tol=1e-9) else steps
        if steps < 1:
            raise UserError(
                f"a budget of {self} is less than one optimizer step ({batch_size} images, "
                f"{steps_per_epoch} steps in an epoch): give a larger budget or a smaller batch"
            )
        return math.ceil(steps)

    def __str__(self) -> str:
        """``10 epochs``, ``1 epoch``."""
        name = self.currency.removesuffix("s") if self.amount == 1 else self.currency
        return f"{self.amount:g} {name}" if self.amount < 1e6 else f"{self.amount:.0f} {name}"
