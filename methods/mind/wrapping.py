"""Two passes instead of one: forwards that hang on block, backbone and model.

They are attributes of the instances, not modules around them, so that every parameter keeps its
name and pretrained weights load; and they are objects, so that a model can be copied and pickled.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from methods.blocks import Block
from methods.mind.controller import Controller, Plan
from methods.mind.fixed_point import evaluating, relative_change, solve


def wrap(model: BaseModel, controller: Controller, freeze_norms: bool) -> None:
    """Hang the forwards on a model, its backbone and the wrapped blocks."""
    for index, block in enumerate(controller.wrapped):
        block.module.forward = FixedPointForward(block, index, controller)
    model.backbone.forward = TwoPassForward(model.backbone, controller, freeze_norms)
    model.forward = LossForward(model, controller)


@dataclass(eq=False, repr=False)
class FixedPointForward:
    """The forward of a wrapped block: one step, or for chosen images steps to a fixed point.

    For a block ``x -> act(x + g(x))`` a step is ``z -> act(x + s g(z))``, where s is the norm
    control; the first step, from z = x, is the plain block with s = 1. All steps but the last run
    without gradient and in evaluation mode, which leaves running statistics alone and makes the
    images of a batch independent. The last step, for all images together, carries the gradient:
    the phantom gradient (Geng et al. 2021, "On Training Implicit Models", with one step).
    """

    block: Block
    index: int
    controller: Controller

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The block's output for x (N, ...)."""
        module = self.block.module

        def plain(z: Tensor) -> Tensor:
            return type(module).forward(module, z, *args, **kwargs)

        plan, options = self.controller.plan, self.controller.options
        epsilon, k_max = options.limits
        if plan is None or k_max == 1:
            return plain(x)
        rows = (plan.mask[:, self.index].detach() > 0.5).nonzero().squeeze(1)
        if not len(rows):
            return plain(x)

        scale = self.controller.scale(self.index)
        with torch.no_grad(), evaluating(module):
            chosen = x.detach()[rows]
            first = plain(chosen)
            found = solve(
                lambda inner, z: self.injected(plain, inner, z, scale),
                chosen,
                first,
                0.0 if options.mode == "fixed" else epsilon,
                k_max - 1,
                options.compaction,
            )
        start = x.index_copy(0, rows, found.z.to(x.dtype))
        factors = x.new_ones(len(x))
        factors[rows] = torch.as_tensor(scale, device=x.device, dtype=x.dtype)
        out = self.injected(plain, x, start, factors.view(-1, *[1] * (x.dim() - 1)))
        reached = out.detach()[rows]
        self._record(plan, rows, found, relative_change(reached, found.z) < epsilon)
        return self._straight_through(out, plan, rows, reached - first)

    def injected(self, plain: Any, x: Tensor, z: Tensor, scale: Tensor | float) -> Tensor:
        """``act(x + scale * g(z))`` by way of the plain block, which gives ``act(z + g(z))``."""
        if self.block.kind in ("vit", "swin"):  # two branches, and nothing after the sum
            out = plain(z)
            # Written so that scale 1 and z = x give exactly the plain block.
            return out + (x - z) - (1 - scale) * (out - z)
        with branch_output(self.block.branch_ends[0], scale, x - z):
            return plain(z)

    def _record(self, plan: Plan, rows: Tensor, found: Any, still: Tensor) -> None:
        plan.iterations[rows, self.index] = (found.steps + 1).to(plan.iterations.dtype)
        plan.converged[rows, self.index] = found.converged | still

    def _straight_through(self, out: Tensor, plan: Plan, rows: Tensor, gain: Tensor) -> Tensor:
        """Let the mask of chosen images feel what iterating changed; the value stays as it is."""
        mask = plan.mask[rows, self.index]
        if not mask.requires_grad:
            return out
        zero = (mask - mask.detach()).view(-1, *[1] * (out.dim() - 1))
        return out.index_add(0, rows, (zero * gain).to(out.dtype))


@contextmanager
def branch_output(end: nn.Module, scale: Tensor | float, addend: Tensor) -> Iterator[None]:
    """Change the output of a branch's last module to ``scale * output + addend``."""
    handle = end.register_forward_hook(lambda module, inputs, out: scale * out + addend)
    try:
        yield
    finally:
        handle.remove()


@dataclass(eq=False, repr=False)
class TwoPassForward:
    """The forward of the backbone: look, choose, then run with the chosen blocks iterated."""

    backbone: nn.Module
    controller: Controller
    freeze_norms: bool

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """What the backbone gives for images x (N, C, H, W)."""

        def plain(x: Tensor) -> Any:
            return type(self.backbone).forward(self.backbone, x, *args, **kwargs)

        controller = self.controller
        if controller.training != self.backbone.training:  # the backbone is used by itself
            controller.train(self.backbone.training)
        if self.freeze_norms:
            for module in self.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        with evaluating(self.backbone):
            controller.count(plain, x)
            plan = controller.choose(plain, x)
        if plan is None:
            controller.finish(None, len(x))
            return plain(x)
        controller.follow_weights()
        controller.plan = plan
        try:
            out = plain(x)
        finally:
            controller.plan = None
        controller.finish(plan, len(x))
        return out


@dataclass(eq=False, repr=False)
class LossForward:
    """The forward of the model: the task's losses and, among them, the introspection loss."""

    model: BaseModel
    controller: Controller

    def __call__(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        """What the model gives in that mode."""
        controller = self.controller
        controller.wants_loss = mode == "loss"
        try:
            out = type(self.model).forward(self.model, inputs, data_samples, mode=mode)
        finally:  # the backbone may next be used by itself
            controller.wants_loss = False
            loss, controller.loss = controller.loss, None
        return out if loss is None else {**out, "loss_introspection": loss}
