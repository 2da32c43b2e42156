"""What a phase does besides stepping: meter, validate, report and save, each one mmengine hook."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from mmengine.hooks import Hook

from benchmarks.engine.random_state import random_state, set_random_state
from benchmarks.engine.snapshot import InTraining
from benchmarks.engine.state import PhaseState
from benchmarks.engine.stopping import StopRun
from benchmarks.meters.session import RunMeters
from benchmarks.records.row import metric_info
from methods.base import Phase
from tasks.base import Task, as_score
from tasks.errors import UserError

Report = Callable[[dict[str, Any]], None]


class MeterHook(Hook):
    """Open the measured window at the first batch and close it after the last.

    The first batch of a process pays for cuDNN's search and for compilation: it is a window of
    its own.

    Args:
        meters: of the run.
        warm_up: batches of that window.
    """

    priority = "HIGHEST"

    def __init__(self, meters: RunMeters, warm_up: int = 1) -> None:
        self._meters = meters
        self._left = warm_up

    def before_train(self, runner: Any) -> None:
        """Start with the warm-up window."""
        self._meters.open("first_step")

    def after_train_iter(self, runner: Any, batch_idx: int, **_: Any) -> None:
        """Move on to the training window after the warm-up."""
        if self._left:
            self._left -= 1
            if not self._left:
                self._meters.close()
                self._meters.open("train")

    def after_train(self, runner: Any) -> None:
        """Close the window."""
        self._meters.close()


class StepEndHook(Hook):
    """Book a step before what has been spent is read, and before a checkpoint is saved."""

    priority = "LOW"

    def __init__(self, meters: RunMeters) -> None:
        self._meters = meters

    def after_train_iter(self, runner: Any, batch_idx: int, **_: Any) -> None:
        """The step is over."""
        self._meters.end_step()


class LossHook(Hook):
    """Sum the loss on the device; nothing is copied to the host until it is requested."""

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._total: torch.Tensor | None = None
        self._count = 0

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Add the step's loss."""
        loss = outputs.get("loss") if outputs else None
        if loss is not None:
            loss = loss.detach()
            self._total = loss.clone() if self._total is None else self._total.add_(loss)
            self._count += 1

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Save the sum, so that a resumed epoch reports its whole mean."""
        checkpoint["loss"] = (self._total, self._count)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Restore the sum."""
        total, self._count = checkpoint["loss"]
        self._total = None if total is None else total.to(next(runner.model.parameters()).device)

    def mean(self) -> float | None:
        """The mean loss since the last call; None when no step gave one."""
        if self._total is None:
            return None
        mean = float(self._total) / self._count
        self._total, self._count = None, 0
        return mean


class ValidationHook(Hook):
    """Validate at the end of an epoch, keep the curve and the best weights, maybe stop."""

    priority = "LOW"

    def __init__(
        self,
        task: Task,
        device: torch.device,
        meters: RunMeters,
        phase: Phase,
        state: PhaseState,
        held: InTraining,
        losses: LossHook,
        every: int,
        report: Report,
    ) -> None:
        self._task, self._device, self._meters, self._phase = task, device, meters, phase
        self._state, self._losses, self._every, self._report = state, losses, every, report
        self._held, self._better = held, metric_info(task.headline).better

    def after_train_epoch(self, runner: Any) -> None:
        """Validate after every ``every``-th epoch and at the end of the phase."""
        loop = runner.train_loop
        if (runner.epoch + 1) % self._every and runner.iter < loop.max_iters:
            return
        with self._meters.window("evaluate"):
            # The window has just opened: what training has cost is booked to this moment.
            cost = {"seconds": self._meters.train_seconds(), **self._meters.spent_besides()}
            loss = self._losses.mean()
            if loss is not None and not np.isfinite(loss):
                raise UserError(
                    f"the training loss became {loss} by batch {runner.iter} of phase "
                    f"'{self._phase.name}': lower the learning rate or clip the gradient"
                )
            scores = self._scores(runner.model)
            point = {
                "epoch": runner.epoch + 1,
                "batch": runner.iter,
                **cost,
                "lr": runner.optim_wrapper.get_lr()["lr"][0],
                **({} if loss is None else {"train_loss": loss}),
                **{name: as_score(score).value for name, score in scores.items()},
            }
            name, headline = self._phase.name, self._task.headline
            self._state.add(name, point, headline, self._held.take, self._better)
            self._report({"event": "metric", "phase": self._phase.name, **point})
        if self._phase.stop is not None and self._phase.stop(self._state.curve_of_phase()):
            loop.stopped = True

    def _scores(self, model: torch.nn.Module) -> Mapping[str, Any]:
        """The task's metrics; an evaluation that trains is taken for work outside the budget."""
        began, before = time.monotonic(), weight_norms(model)
        network = model if self._phase.network is None else self._phase.network(model)
        scores = self._task.evaluate(network, "val", self._device)
        if weight_norms(model) != before:
            self._meters.evaluated_outside(time.monotonic() - began)
        return scores


def weight_norms(model: torch.nn.Module) -> list[float]:
    """The norms of a model's parameters: other ones once any of them has been trained."""
    parameters = [p.detach() for p in model.parameters() if p.is_floating_point()]
    return torch.stack(torch._foreach_norm(parameters)).tolist() if parameters else []


class OptimizerHook(Hook):
    """Go on with an earlier optimizer's state and learning rates.

    Args:
        state: of its wrapper.
        phase: that goes on.
    """

    priority = "VERY_HIGH"

    def __init__(self, state: dict[str, Any], phase: str) -> None:
        self._state, self._phase = state, phase

    def before_train(self, runner: Any) -> None:
        """Load it.

        Raises:
            UserError: it is of other parameters.
        """
        try:
            runner.optim_wrapper.load_state_dict(self._state)
            fits = all(map(_fits, runner.optim_wrapper.optimizer.state.items()))
        except (ValueError, KeyError):
            fits = False
        if not fits:
            raise UserError(
                f"phase '{self._phase}' carries on an optimizer whose parameters have other "
                "shapes: leave carry_optimizer out where the network changes between phases"
            )


def _fits(state: tuple[torch.Tensor, dict[str, Any]]) -> bool:
    """Whether an optimizer's tensors have the shape of their parameter, as far as they are its."""
    parameter, values = state
    shapes = [v.shape for v in values.values() if torch.is_tensor(v) and v.dim() == parameter.dim()]
    return all(shape == parameter.shape for shape in shapes)


class StepLimitHook(Hook):
    """End training once a number of optimizer steps is made, however many a batch makes.

    Args:
        meters: count the optimizer steps.
        limit: of the whole run.
    """

    priority = "LOW"

    def __init__(self, meters: RunMeters, limit: float) -> None:
        self._meters, self._limit = meters, limit

    def after_train_iter(self, runner: Any, batch_idx: int, **_: Any) -> None:
        """Make the batch under way the last one where nothing is left."""
        if self._meters.steps.updates() >= self._limit:
            runner.train_loop.end_after_batch()


class ProgressHook(Hook):
    """Tell the parent process how far the phase has come, twice a second.

    Args:
        phase: its name.
        report: takes the event.
        spent: tells the spent fraction of a metered budget, where there is no number of steps.
        interval: seconds between events.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        phase: str,
        report: Report,
        spent: Callable[[], float] | None = None,
        interval: float = 0.5,
    ) -> None:
        self._phase, self._report, self._interval = phase, report, interval
        self._spent = spent
        self._next = 0.0

    def after_train_iter(self, runner: Any, batch_idx: int, **_: Any) -> None:
        """Report if the last report is old enough."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._interval
            event = {"event": "progress", "phase": self._phase, "batch": runner.iter + 1}
            if self._spent is None:
                self._report({**event, "batches": runner.max_iters})
            else:
                self._report({**event, "spent": min(1.0, self._spent())})


class CheckpointHook(Hook):
    """Save everything that a resumed run needs, as often as it costs at most two per cent.

    The file is written under a temporary name and renamed, so that a kill at any moment leaves
    the last whole one.

    Args:
        path: the checkpoint file.
        meters: metered work so far goes into the checkpoint; saving is a window of its own.
        state: the phases' state that goes with the weights.
        first: seconds of training before the first checkpoint.
        longest: seconds between checkpoints at most.
    """

    priority = "LOWEST"

    def __init__(
        self,
        path: Path,
        meters: RunMeters,
        state: PhaseState,
        accumulate: int,
        first: float = 2.0,
        longest: float = 60.0,
    ) -> None:
        self._path, self._meters, self._state = path, meters, state
        self._accumulate, self._wait, self._longest = accumulate, first, longest
        self._last = time.monotonic()

    def after_train_iter(self, runner: Any, batch_idx: int, **_: Any) -> None:
        """Save inside an epoch; its end is left to ``after_train_epoch``, after validation."""
        if self._due() and self.whole_step(runner.iter + 1) and not runner.train_loop.last_of_epoch:
            self._save(runner, runner.iter + 1)

    def after_train_epoch(self, runner: Any) -> None:
        """Save after validation."""
        finished = runner.iter >= runner.max_iters or runner.train_loop.stopped
        if not finished and self._due() and self.whole_step(runner.iter):
            self._save(runner, runner.iter)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add what mmengine does not save: random states, meters, curve, best weights."""
        checkpoint["random"] = random_state()
        checkpoint["depthbench"] = self._state.state_dict()
        checkpoint["meters"] = self._meters.state_dict()

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Go on drawing where the checkpoint stopped."""
        set_random_state(checkpoint["random"])

    def stop(self, runner: Any, number: int, epoch_ended: bool) -> NoReturn:
        """Save between two steps and leave, as a signal requested.

        Args:
            runner: of the phase.
            number: of the signal.
            epoch_ended: whether the hooks of the epoch's end, validation among them, are to come.

        Raises:
            StopRun: always.
        """
        self._save(runner, runner.iter, epoch_ended=epoch_ended)
        raise StopRun(number, runner.iter, self._state.phase)

    def whole_step(self, iterations: int) -> bool:
        """Whether so many batches end with an optimizer step."""
        return iterations % self._accumulate == 0

    def _due(self) -> bool:
        return time.monotonic() - self._last >= self._wait

    def _save(self, runner: Any, iteration: int, epoch_ended: bool = False) -> None:
        started = time.monotonic()
        with self._meters.window("checkpoint"):
            runner.write_checkpoint(self._path, iteration, epoch_ended)
        self._last = time.monotonic()
        self._wait = min(max(self._wait, 50 * (self._last - started)), self._longest)
