"""The schedule of a phase of unknown length: mmengine's schedulers on a clock of ticks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from benchmarks.engine.optim import schedule_in_batches

TICKS = 10_000
"""Ticks from the start to the end of a phase."""

_SCHEDULED = ("lr", "momentum", "betas")


class VirtualSchedule:
    """What mmengine's schedulers would do in a phase of ``TICKS`` iterations.

    They run on a stand-in with one parameter group for all groups that are scheduled alike (the
    constructor of mmengine's optimizers makes one of each parameter), so that all ticks together
    cost some hundredths of a second. The values are copied to the optimizer; a learning rate that
    something else has multiplied in the meantime keeps its factor.

    Args:
        schedule: scheduler configs by fraction, see
            :func:`~benchmarks.engine.optim.schedule_in_batches`.
        optimizer: as it was made, or as an earlier process with such a schedule left it.
    """

    def __init__(
        self, schedule: Sequence[Mapping[str, Any]], optimizer: torch.optim.Optimizer
    ) -> None:
        self.tick = 0
        self._groups = optimizer.param_groups
        kinds: dict[str, dict[str, Any]] = {}
        self._kind = []
        for group in self._groups:
            # A resumed optimizer has the values of its checkpoint, and the initial ones beside.
            for key in _SCHEDULED:
                if key in group:
                    group.setdefault(f"initial_{key}", group[key])
            options = {
                key: group.get(f"initial_{key}", value)
                for key, value in group.items()
                if key not in ("params", "weight_decay")
            }
            self._kind.append(repr(sorted(options.items())))
            kinds.setdefault(self._kind[-1], options)
        stand_in = torch.optim.Optimizer(
            [{**options, "params": [nn.Parameter(torch.zeros(()))]} for options in kinds.values()],
            dict(optimizer.defaults),
        )
        self._values = dict(zip(kinds, stand_in.param_groups, strict=True))
        before = self._copy()
        self._schedulers = [
            PARAM_SCHEDULERS.build({"end": TICKS, **config, "optimizer": stand_in})
            for config in schedule_in_batches(schedule, TICKS)
        ]
        # mmengine warns of schedulers that step before the optimizer does; this one never does.
        stand_in._global_step = 0
        self._start = before

    def begin(self) -> None:
        """Give the optimizer of a new phase its first values."""
        self._hand_over(self._start)

    def resume(self, tick: int) -> None:
        """Go on from a tick with an optimizer whose values were restored."""
        self._advance(tick)

    def turn(self, progress: float) -> None:
        """Go to where a phase is when ``progress`` (0 to 1) of it is over."""
        tick = min(TICKS, int(progress * TICKS))
        if tick > self.tick and self._schedulers:
            before = self._copy()
            self._advance(tick)
            self._hand_over(before)
        self.tick = max(tick, self.tick)

    def _advance(self, tick: int) -> None:
        for _ in range(tick - self.tick):
            for scheduler in self._schedulers:
                scheduler.step()
        self.tick = tick

    def _copy(self) -> dict[str, dict[str, Any]]:
        return {kind: dict(values) for kind, values in self._values.items()}

    def _hand_over(self, before: Mapping[str, Mapping[str, Any]]) -> None:
        for group, kind in zip(self._groups, self._kind, strict=True):
            old, new = before[kind], self._values[kind]
            for key in _SCHEDULED:
                if key not in group or new.get(key) == old.get(key):
                    continue
                changed = key == "lr" and group[key] != old[key] and old[key]
                group[key] = group[key] / old[key] * new[key] if changed else new[key]
