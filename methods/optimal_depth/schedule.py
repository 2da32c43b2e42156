"""When a depth has converged, and how its learning rate falls until then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from mmengine.hooks import Hook

from methods.curves import Curve
from tasks.modules import copy_weights

_ROUNDING = 1e-9
"""What binary fractions add to a rounded accuracy."""


@dataclass(frozen=True)
class Rule:
    """How validations are compared, and when a depth has converged.

    Sources differ: Algorithm 1 of the paper keeps the best accuracy when the depth grows and
    compares exactly; the printed logs of the official notebooks keep it and compare at 0.1 point
    during the search; the notebooks' present source resets it and compares at 0.1 point.

    Args:
        metric: the validation metric.
        patience: consecutive epochs without a better validation until converged.
        decay_every: such epochs until the learning rate falls.
        decay: the factor by which it falls.
        round_to: values are rounded to multiples of this; 0 compares exactly.
        above: value that a validation has to be better than to count as better at all.
        target: value at which the search is over; None goes on until converged.
    """

    metric: str
    patience: int
    decay_every: int
    decay: float
    round_to: float = 0.0
    above: float = float("-inf")
    target: float | None = None

    def rounded(self, value: float) -> float:
        """A value as it is compared."""
        if not self.round_to:
            return value
        return round(value / self.round_to) * self.round_to

    def best(self, curve: Curve) -> float | None:
        """The highest value on the curve, as it is compared; None where there is none."""
        values = [point[self.metric] for point in curve]
        return max((self.rounded(v) for v in values if v is not None), default=None)

    def stale(self, curve: Curve) -> int:
        """Epochs since the last validation that was better than all before it."""
        top, since = self.rounded(self.above) if self.above > float("-inf") else self.above, 0.0
        for point in curve:
            value = point[self.metric]
            if value is not None and self.rounded(value) > top + _ROUNDING:
                top, since = self.rounded(value), point["epoch"]
        return int(curve[-1]["epoch"] - since) if curve else 0

    def met(self, curve: Curve) -> bool:
        """Whether a validation has reached the target."""
        top = self.best(curve)
        return None not in (self.target, top) and top >= self.target - _ROUNDING  # type: ignore[operator]

    def converged(self, curve: Curve) -> bool:
        """Whether nothing has become better for as long as the patience lasts."""
        return self.stale(curve) >= self.patience

    def over(self, curve: Curve) -> bool:
        """Whether to end the phase; its ``stop``."""
        return self.met(curve) or self.converged(curve)


class BestWeights(Hook):
    """A phase ends with the weights of its best validation, however it ends.

    Args:
        metric: the validation metric.
        start: the value of the weights that the phase begins with, where they take part.
    """

    # After validation (LOW) and before the checkpoint (LOWEST), which saves what is kept here.
    priority = "VERY_LOW"

    def __init__(self, metric: str, start: float | None = None) -> None:
        self._metric = metric
        self._curve: Curve = ()
        self._top = start
        self._takes_part = start is not None
        self._best: dict[str, torch.Tensor] | None = None

    def over(self, curve: Curve) -> bool:
        """Whether to end the phase; its ``stop``. Here it never does."""
        self._curve = curve
        return False

    def before_train(self, runner: Any) -> None:
        """Keep the weights of the start, where they may stay the best."""
        if self._takes_part and self._best is None:
            self._best = copy_weights(runner.model)

    def after_train_epoch(self, runner: Any) -> None:
        """Keep the weights of a new best."""
        if not self._validated(runner):
            return
        value = self._curve[-1][self._metric]
        if value is not None and (self._top is None or value > self._top):
            self._top, self._best = value, copy_weights(runner.model)

    def _validated(self, runner: Any) -> bool:
        return bool(self._curve) and self._curve[-1]["epoch"] == runner.epoch + 1

    def after_train(self, runner: Any) -> None:
        """Put the best weights back."""
        if self._best is not None:
            runner.model.load_state_dict(self._best)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Save what a resumed phase cannot know from its curve."""
        checkpoint["optimal_depth"] = {"best": self._best, "top": self._top}

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Restore it."""
        saved = checkpoint["optimal_depth"]
        self._best, self._top = saved["best"], saved["top"]


class DepthSchedule(BestWeights):
    """The stopping rule and the learning rate of one phase of a depth.

    The learning rate is multiplied by ``decay`` after every ``decay_every``-th consecutive epoch
    without a better validation.

    Args:
        rule: of the phase.
        start: the value of the weights that the phase begins with, where they take part.
    """

    def __init__(self, rule: Rule, start: float | None = None) -> None:
        super().__init__(rule.metric, start)
        self.rule = rule
        self._decays = 0

    def over(self, curve: Curve) -> bool:
        """Whether to end the phase; its ``stop``."""
        self._curve = curve
        return self.rule.over(curve)

    def after_train_epoch(self, runner: Any) -> None:
        """Keep the weights of a new best; lower the learning rate where due."""
        super().after_train_epoch(runner)
        if not self._validated(runner):
            return
        due = self.rule.stale(self._curve) // self.rule.decay_every
        # More than one at once where validations are rarer than epochs.
        for _ in range(due - self._decays):
            for group in runner.optim_wrapper.param_groups:
                group["lr"] *= self.rule.decay
        self._decays = due

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Save what a resumed phase cannot know from its curve."""
        super().before_save_checkpoint(runner, checkpoint)
        checkpoint["optimal_depth"]["decays"] = self._decays

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Restore it."""
        super().after_load_checkpoint(runner, checkpoint)
        self._decays = checkpoint["optimal_depth"]["decays"]
