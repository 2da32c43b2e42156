"""When a depth has converged, and how its learning rate falls until then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.hooks import Hook

Curve = Sequence[Mapping[str, float]]
"""One mapping a validation: ``epoch`` (from 1) and the metrics."""


def best(curve: Curve, metric: str) -> float | None:
    """The highest value on the curve; None where there is none."""
    values = [point[metric] for point in curve]
    return max((value for value in values if value is not None), default=None)


def stale_epochs(curve: Curve, metric: str) -> int:
    """Epochs since the last validation that was better than all before it."""
    top, since = float("-inf"), 0.0
    for point in curve:
        value = point[metric]
        if value is not None and value > top:
            top, since = value, point["epoch"]
    return int(curve[-1]["epoch"] - since) if curve else 0


class DepthSchedule(Hook):
    """The stopping rule and the learning rate of one depth.

    The learning rate is multiplied by ``decay`` after every ``decay_every``-th consecutive epoch
    without a better validation; after ``patience`` of them the depth has converged. Keeps the
    weights of the best validation, and puts them back when the depth has converged short of its
    target: they are what the depth is worth, and no later phase goes on from it.

    Args:
        metric: the validation metric.
        target: value at which the search is over.
        patience: epochs without a better validation until converged.
        decay_every: epochs without a better validation until the learning rate falls.
        decay: the factor by which it falls.
    """

    # After validation (LOW) and before the checkpoint (LOWEST), which saves the lower rate.
    priority = "VERY_LOW"

    def __init__(
        self, metric: str, target: float, patience: int, decay_every: int, decay: float
    ) -> None:
        self.metric, self.target = metric, target
        self.patience, self.decay_every, self.decay = patience, decay_every, decay
        self._curve: Curve = ()
        self._decays = 0
        self._best: dict[str, torch.Tensor] | None = None

    def converged(self, curve: Curve) -> bool:
        """Whether to end the depth; a phase's ``stop``."""
        self._curve = curve
        return stale_epochs(curve, self.metric) >= self.patience

    def after_train_epoch(self, runner: Any) -> None:
        """Lower the learning rate where due; keep the weights of a new best."""
        if not self._curve or self._curve[-1]["epoch"] != runner.epoch + 1:
            return  # an epoch that was not validated
        stale = stale_epochs(self._curve, self.metric)
        if stale == 0:
            state = runner.model.state_dict()
            self._best = {key: value.detach().clone() for key, value in state.items()}
        # More than one at once where validations are rarer than epochs.
        for _ in range(stale // self.decay_every - self._decays):
            for group in runner.optim_wrapper.param_groups:
                group["lr"] *= self.decay
        self._decays = stale // self.decay_every

    def after_train(self, runner: Any) -> None:
        """Put the best weights back at the end of a depth that misses the target."""
        value = best(self._curve, self.metric)
        if self._best is None or value is None or value >= self.target:
            return
        if stale_epochs(self._curve, self.metric) >= self.patience:
            runner.model.load_state_dict(self._best)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Save what a resumed phase cannot know from its curve."""
        checkpoint["optimal_depth"] = {"best": self._best, "decays": self._decays}

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Restore it."""
        saved = checkpoint["optimal_depth"]
        self._best, self._decays = saved["best"], saved["decays"]
