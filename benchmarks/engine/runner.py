"""mmengine's Runner and train loop, cut to what a measured phase needs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn

from benchmarks.engine.checkpoint import write_checkpoint
from benchmarks.engine.hooks import CheckpointHook
from benchmarks.engine.stopping import requested, whole_steps
from benchmarks.meters.session import RunMeters
from benchmarks.records.progress import write_progress
from tasks.base import BatchSource, size_of
from tasks.files.checkpoints import load_plain

_NOTHING: AbstractContextManager[Any] = nullcontext()
TrainStep = Callable[[BaseModel, dict[str, Any], OptimWrapper], dict[str, torch.Tensor]]


class TrainLoop(BaseLoop):
    """Train for a number of batches, in epochs whose order depends on their index alone.

    Unlike mmengine's loops it can start in the middle of an epoch, asks the method for the
    training step, and lets meters follow each step.

    Args:
        runner: the runner that calls the hooks.
        source: the training batches.
        train_step: the method's step.
        batches: to train on; None to go on until a hook ends it.
        meters: of the run.
        saver: saves a checkpoint where a signal stops the run.
    """

    def __init__(
        self,
        runner: Runner,
        source: BatchSource,
        train_step: TrainStep,
        batches: int | None,
        meters: RunMeters,
        saver: CheckpointHook | None = None,
    ) -> None:
        super().__init__(runner, source)
        self._saver = saver
        self._train_step = train_step
        self._meters = meters
        self._max_iters = sys.maxsize if batches is None else batches
        self._expected = batches
        self._epoch = 0
        self._epoch_ended = False
        self._iter = 0
        self.stopped = False

    @property
    def iter(self) -> int:
        """Batches trained on so far."""
        return self._iter

    @property
    def epoch(self) -> int:
        """The epoch under way, from 0."""
        return self._epoch

    def go_on(self, iter: int, epoch: int, epoch_ended: bool = False, last: bool = False) -> None:
        """Count from where a checkpoint stopped.

        Args:
            iter: batches trained on.
            epoch: the epoch that the next one belongs to.
            epoch_ended: whether the hooks of an epoch's end are still to be called.
            last: whether no further batch follows.
        """
        self._iter, self._epoch, self._epoch_ended = iter, epoch, epoch_ended
        if last:
            self._max_iters = self._expected = iter

    @property
    def max_iters(self) -> int:
        """Batches to train on; beyond all reach where a hook will end it."""
        return self._max_iters

    @property
    def expected_iters(self) -> int | None:
        """Batches that there will be in all: known, or a forecast; None before there is one."""
        return self._expected

    @property
    def open_ended(self) -> bool:
        """Whether the number of batches is unknown."""
        return self._max_iters == sys.maxsize

    def expect(self, batches: int) -> None:
        """Take a forecast of the number of batches, where it is not known."""
        if self.open_ended:
            self._expected = max(batches, self._iter + 2)

    def end_after_batch(self) -> None:
        """Make the batch under way the last one."""
        self._max_iters = self._expected = self._iter + 1

    @property
    def max_epochs(self) -> int:
        """Epochs begun by the end."""
        return -(-self._max_iters // len(self.dataloader))

    @property
    def last_of_epoch(self) -> bool:
        """Whether the batch under way ends its epoch or the phase."""
        done = self._iter + 1
        return done % len(self.dataloader) == 0 or done >= self._max_iters

    def run(self) -> nn.Module:
        """Train until the batches are used up or a hook sets ``stopped``."""
        self.runner.call_hook("before_train")
        if self._epoch_ended:
            self.runner.call_hook("after_train_epoch")
        while self._iter < self._max_iters and not self.stopped:
            self._run_epoch()
        self.runner.call_hook("after_train")
        return self.runner.model

    def _run_epoch(self) -> None:
        runner = self.runner
        self._epoch, start = divmod(self._iter, len(self.dataloader))
        runner.call_hook("before_train_epoch")
        runner.model.train()
        epoch = self.dataloader.epoch(self._epoch, start)
        index = start
        with whole_steps():
            self._run_batches(epoch, index)
        runner.call_hook("after_train_epoch")

    def _run_batches(self, epoch: Iterator[dict[str, Any]], index: int) -> None:
        """Train on the rest of an epoch, or up to where a signal stops the run.

        Raises:
            StopRun: a signal requested it; a checkpoint was saved.
        """
        runner = self.runner
        while self._iter < self._max_iters:
            waiting = time.perf_counter()
            batch = next(epoch, None)
            self._meters.waited(time.perf_counter() - waiting)
            if batch is None:
                break
            self._meters.begin_step(images_of(batch))
            runner.call_hook("before_train_iter", batch_idx=index, data_batch=batch)
            with self._meters.observed(runner.model, runner.optim_wrapper):
                outputs = self._train_step(runner.model, batch, runner.optim_wrapper)
            runner.call_hook("after_train_iter", batch_idx=index, data_batch=batch, outputs=outputs)
            self._iter += 1
            index += 1
            number = requested()
            if number is not None and self._saver is not None:
                if self._saver.whole_step(self._iter):
                    ended = index >= len(self.dataloader) or self._iter >= self._max_iters
                    self._saver.stop(runner, number, ended)


def images_of(batch: dict[str, Any]) -> int:
    """How many images (or other samples) a training batch really holds."""
    return size_of(batch["inputs"])


class PhaseRunner(Runner):
    """A Runner for one phase on one device.

    The environment goes into the run's manifest, so it is not collected again for the log, and
    the hooks of mmengine that synchronise the device or write in every iteration are left out.

    Args:
        model: the prepared model.
        source: the training batches.
        train_step: the method's step.
        batches: to train on; None to go on until a hook ends it.
        meters: of the run.
        device: where to train.
        optim_wrapper: mmengine's config of the optimizer wrapper.
        schedule: mmengine parameter schedulers by iteration.
        hooks: the harness's hooks.
        method_hooks: those of the method and of the phase; what they do is metered.
        folder: where mmengine writes its log.
        seed: the seed of the training draws.
        name: what mmengine files its logger and message hub under, one a phase.
        checkpoint: a checkpoint of this phase to go on from, if any.
        further: gives what else a checkpoint holds.
    """

    def __init__(
        self,
        model: BaseModel,
        source: BatchSource,
        train_step: TrainStep,
        batches: int | None,
        meters: RunMeters,
        device: torch.device,
        optim_wrapper: dict[str, Any],
        schedule: list[dict[str, Any]],
        hooks: list[Any],
        method_hooks: Collection[Any],
        folder: str,
        seed: int,
        name: str,
        checkpoint: str | None = None,
        further: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._further = further
        saver = next((hook for hook in hooks if isinstance(hook, CheckpointHook)), None)
        self._loop = (source, train_step, batches, meters, saver)
        self._meters = meters
        self._method_hooks = {id(hook) for hook in method_hooks}
        self._device = device
        unused = ("runtime_info", "timer", "sampler_seed", "logger", "checkpoint")
        super().__init__(
            model=model,
            work_dir=folder,
            train_dataloader=source,
            train_cfg={"type": TrainLoop},
            optim_wrapper=optim_wrapper,
            param_scheduler=schedule or None,
            default_hooks=dict.fromkeys(unused),
            custom_hooks=[*hooks, *method_hooks],
            load_from=checkpoint,
            resume=checkpoint is not None,
            randomness={"seed": seed},
            experiment_name=name,
            log_level="WARNING",
            env_cfg={"mp_cfg": {}},
        )

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call all hooks; the method's own under the eyes of the meters."""
        for hook in self._hooks:
            if not hasattr(hook, fn_name):
                continue
            with self._watching(hook, fn_name):
                getattr(hook, fn_name)(self, **kwargs)

    def _watching(self, hook: Any, stage: str) -> AbstractContextManager[Any]:
        return self._meters.hook(stage) if id(hook) in self._method_hooks else _NOTHING

    def build_train_loop(self, loop: Any) -> BaseLoop:
        """The one loop there is."""
        return TrainLoop(self, *self._loop)

    def wrap_model(self, model_wrapper_cfg: Any, model: nn.Module) -> nn.Module:
        """Move the model to the run's device, which need not be the one mmengine would pick."""
        return model.to(self._device)

    def write_checkpoint(self, path: Path, iteration: int, epoch_ended: bool = False) -> None:
        """Save model, optimizer and schedulers, and what the hooks add.

        Args:
            path: of the file.
            iteration: batches trained on.
            epoch_ended: whether the hooks of an epoch's end are still to be called.
        """
        last = epoch_ended and iteration >= self.max_iters
        meta = {"iter": iteration, "epoch": self.epoch, "epoch_ended": epoch_ended, "last": last}
        checkpoint = {
            "meta": meta,
            "state_dict": self.model.state_dict(),
            **self._further(),
            "optimizer": self.optim_wrapper.state_dict(),
            "param_schedulers": [each.state_dict() for each in self.param_schedulers or ()],
        }
        self.call_hook("before_save_checkpoint", checkpoint=checkpoint)
        write_checkpoint(path, checkpoint)
        loop = self.train_loop
        write_progress(path, checkpoint, self.epoch + 1, loop.expected_iters, len(loop.dataloader))

    def resume(self, filename: str, **kwargs: Any) -> None:
        """Go on from a checkpoint of :meth:`write_checkpoint`, whose weights the model has.

        mmengine's own way would read its message hub, for which torch must be allowed to make
        objects, and run a config that stands in the file.
        """
        checkpoint = load_plain(Path(filename))
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        self.train_loop.go_on(**checkpoint["meta"])
        self.optim_wrapper.load_state_dict(checkpoint["optimizer"])
        states = checkpoint["param_schedulers"]
        for scheduler, state in zip(self.param_schedulers or (), states, strict=True):
            scheduler.load_state_dict(state)
        self._has_loaded = True

    def _init_model_weights(self) -> None:
        """Draw nothing: the task drew the weights, and methods may have changed them since."""

    def dump_config(self) -> None:
        """Write nothing: the run's manifest holds the whole specification."""

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        """Log nothing: the run's manifest holds the environment."""
