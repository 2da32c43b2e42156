"""A phase under a metered budget: after every step, how far it is, its schedule, and its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.hooks import Hook

from benchmarks.budget import Part, spent_fraction
from benchmarks.engine.virtual_schedule import VirtualSchedule
from benchmarks.meters.session import RunMeters
from tasks.errors import UserError


class Spending:
    """What a run has spent of its whole budget.

    Args:
        meters: of the run.
        metered: the budget's amounts by metered unit.
        total_batches: that its counted units pay for; None for no limit.
    """

    def __init__(
        self, meters: RunMeters, metered: Mapping[str, float], total_batches: int | None
    ) -> None:
        self._meters, self._metered, self._total_batches = meters, metered, total_batches

    @property
    def waits(self) -> bool:
        """Whether what is spent is known only when the device has done it."""
        return any(unit != "train_flops" for unit in self._metered)

    def fraction(self, batches: int) -> float:
        """The spent fraction of the budget, after ``batches`` of all phases.

        Raises:
            UserError: a meter has failed.
        """
        spent = {}
        for unit in self._metered:
            amount = self._meters.spent(unit)
            if amount is None:
                raise UserError(
                    f"the budget in {unit} cannot be kept: {self._meters.unmeasured(unit)}"
                )
            spent[unit] = amount
        return spent_fraction(batches, self._total_batches, spent, self._metered)


class SpendingHook(Hook):
    """Run the schedule on the spent fraction, and end the phase when its part is spent.

    On CUDA the host runs ahead of the device, so its clock tells little. It is held to at most one
    step of lead, by waiting for the step before the last; near the end it waits for each step.
    That leaves the queue filled, so nothing is lost.

    Args:
        spending: of the run.
        part: the phase's part of the budget.
        schedule: scheduler configs by fraction.
        batches: trained on in earlier phases.
        limit: batches that the phase requested; None where it requested a share.
        accumulate: batches of an optimizer step.
        device: where the run trains.
    """

    priority = "LOW"

    def __init__(
        self,
        spending: Spending,
        part: Part,
        schedule: Sequence[Mapping[str, Any]],
        batches: int,
        limit: int | None,
        accumulate: int,
        device: torch.device,
    ) -> None:
        self._spending, self._part, self._configs = spending, part, schedule
        self._batches, self._limit, self._accumulate = batches, limit, accumulate
        self._cuda = device.type == "cuda" and spending.waits
        self._before_last: Any = None
        self._schedule: VirtualSchedule | None = None
        self._resumed: int | None = None
        self.fraction = part.start
        """Of the run's budget; never falls."""

    def before_train(self, runner: Any) -> None:
        """Set up the schedule on the optimizer."""
        self._schedule = VirtualSchedule(self._configs, runner.optim_wrapper.optimizer)
        if self._resumed is None:
            self._schedule.begin()
        else:
            self._schedule.resume(self._resumed)

    def after_train_iter(self, runner: Any, batch_idx: int, **_: Any) -> None:
        """Look at the meters after an optimizer step."""
        done = runner.iter + 1
        if done % self._accumulate:
            return
        event = self._hold_back() if self._cuda else None
        progress = self._look(done)
        if event is not None and progress * (1 + 3 * self._accumulate / done) >= 1:
            event.synchronize()
            progress = self._look(done)
        assert self._schedule is not None
        self._schedule.turn(progress)
        if progress >= 1:
            runner.train_loop.end_after_batch()
        elif progress > 0:
            runner.train_loop.expect(round(done / progress))

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Save how far the phase is; the optimizer's own state holds its rates."""
        assert self._schedule is not None
        checkpoint["spending"] = {"tick": self._schedule.tick, "fraction": self.fraction}

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        self._resumed = checkpoint["spending"]["tick"]
        self.fraction = checkpoint["spending"]["fraction"]

    def _look(self, done: int) -> float:
        self.fraction = max(self.fraction, self._spending.fraction(self._batches + done))
        progress = self._part.progress(self.fraction)
        return progress if self._limit is None else max(progress, done / self._limit)

    def _hold_back(self) -> torch.cuda.Event:
        event = torch.cuda.Event(blocking=True)
        event.record()
        if self._before_last is not None:
            self._before_last.synchronize()
        self._before_last = event
        return event
