"""What the kit sees of a run while it trains, and how it interrupts one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from methods.base import Method, Phases
from tasks.base import BatchSource


class Interrupted(Exception):  # noqa: N818 - stands for a kill, not for an error
    """Raised between two steps in place of a kill."""


class Watch(Hook):
    """See what happens to the parameters in every step of every phase.

    Attributes:
        losses: one a batch.
        phases: where the losses of each phase begin.
        reached: names of parameters that had a gradient other than zero.
        moved: names of parameters that changed while ``requires_grad`` was off.
        updates: optimizer steps.
    """

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.phases: list[int] = []
        self.reached: set[str] = set()
        self.moved: set[str] = set()
        self.updates = 0

    def before_train(self, runner: Any) -> None:
        """Remember the frozen parameters and count the phase's optimizer steps."""
        self.phases.append(len(self.losses))
        self._handles: dict[Tensor, Any] = {}
        self._frozen = {
            name: p.detach().clone()
            for name, p in runner.model.named_parameters()
            if not p.requires_grad
        }
        optimizer = runner.optim_wrapper.optimizer
        optimizer.register_step_post_hook(self._count)
        optimizer.register_step_pre_hook(partial(self._look, runner.model))

    def before_train_iter(self, runner: Any, batch_idx: int, **_: Any) -> None:
        """Wait for the gradients of all parameters that now take one."""
        for name, p in runner.model.named_parameters():
            if p.requires_grad and p not in self._handles:
                record = partial(self._record, name)
                self._handles[p] = p.register_post_accumulate_grad_hook(record)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Keep the loss."""
        if outputs and "loss" in outputs:
            self.losses.append(float(outputs["loss"].detach()))

    def after_train(self, runner: Any) -> None:
        """Compare the parameters that stayed frozen."""
        for handle in self._handles.values():
            handle.remove()
        now = dict(runner.model.named_parameters())
        self.moved |= {
            name
            for name, before in self._frozen.items()
            if name in now and not now[name].requires_grad and not torch.equal(now[name], before)
        }

    def _record(self, name: str, parameter: Tensor) -> None:
        if name not in self.reached and parameter.grad is not None and parameter.grad.any():
            self.reached.add(name)

    def _look(self, model: nn.Module, *_: Any) -> None:
        """Gradients that a method has written by hand call no hook: look before the update."""
        for name, parameter in model.named_parameters():
            self._record(name, parameter)

    def _count(self, *_: Any) -> None:
        self.updates += 1


class Watched(Method):
    """The method as it is, with more hooks, and a step that it can be stopped at.

    Args:
        method: takes all calls.
        hooks: run beside the method's own.
        stop_at: the step, counted from 1, before which :class:`Interrupted` is raised.
    """

    def __init__(self, method: Method, hooks: Sequence[Hook], stop_at: int | None = None) -> None:
        self.method = method
        self.parts = [method]
        self.paramwise = method.paramwise
        self.steps = 0
        self._hooks, self._stop_at = hooks, stop_at

    def prepare(self, model: BaseModel) -> BaseModel:
        """The method's."""
        return self.method.prepare(model)

    def phases(self, model: BaseModel) -> Phases:
        """The method's."""
        return self.method.phases(model)

    def companions(self, model: BaseModel) -> Mapping[str, nn.Module]:
        """The method's."""
        return self.method.companions(model)

    def batches(self, source: BatchSource) -> BatchSource:
        """The method's."""
        return self.method.batches(source)

    def finish(self, model: BaseModel, batches: Iterable[dict[str, Any]]) -> None:
        """The method's."""
        self.method.finish(model, batches)

    def structure(self, model: BaseModel) -> Mapping[str, Any] | None:
        """The method's."""
        return self.method.structure(model)

    def restructure(
        self,
        model: BaseModel,
        structure: Mapping[str, Any],
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        """The method's."""
        self.method.restructure(model, structure, optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The method's."""
        return self.method.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The method's."""
        self.method.load_state_dict(state)

    def hooks(self) -> Sequence[Hook]:
        """The method's and the kit's."""
        return [*self.method.hooks(), *self._hooks]

    def train_step(
        self, model: BaseModel, data: dict[str, Any], optim_wrapper: OptimWrapper
    ) -> dict[str, Tensor]:
        """The method's, unless the run is to be stopped here."""
        if self.steps + 1 == self._stop_at:
            raise Interrupted
        self.steps += 1
        return self.method.train_step(model, data, optim_wrapper)
