"""Iterating blocks to the fixed point of ``z = f(x, z)``, for each image by itself.

Forwards are hung on block, backbone and model.

They are attributes of the instances, not modules around them, so that every parameter keeps its
name and pretrained weights load; and they are objects, so that a model can be copied and pickled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from methods.blocks import Block
from methods.mind.controller import Controller, Plan
from tasks.modules import eval_mode

Step = Callable[[Tensor, Tensor], Tensor]
"""``(x, z_k) -> z_{k+1}``, both (N, ...), image by image independent of the others."""


LOOK_EVERY = 8
"""Steps between two checks of whether all images have converged."""


class Solution(NamedTuple):
    """What the iteration found for each of N images."""

    z: Tensor
    """(N, ...): the last iterate of each image."""
    steps: Tensor
    """(N,), int64: steps taken, the first one included."""
    converged: Tensor
    """(N,), bool: the last step changed less than epsilon."""


def relative_change(new: Tensor, old: Tensor) -> Tensor:
    """``||new - old|| / ||new||`` of each image: (N, ...) to (N,), at least in float32."""
    dtype = torch.promote_types(new.dtype, torch.float32)
    new, old = new.flatten(1).to(dtype), old.flatten(1).to(dtype)
    return (new - old).norm(dim=1) / new.norm(dim=1).clamp_min(torch.finfo(dtype).tiny)


@torch.no_grad()
def solve(
    step: Step, x: Tensor, first: Tensor, epsilon: float, max_steps: int, compact: bool = True
) -> Solution:
    """Iterate from ``first = z_1`` until each image stands still, or ``max_steps`` are done.

    An image that stands still is frozen: further steps do not touch it, so that its result and
    its number of steps do not depend on the others of the batch.

    Args:
        step: the map; called without gradient.
        x: the injected input (N, ...).
        first: the first iterate (N, ...), counted as one step.
        epsilon: relative change below which an image has converged; 0 takes all the steps.
        max_steps: steps at most, the first included.
        compact: compute the moving images alone, for which the host waits in every step; otherwise
            all, with the same result.
    """
    solved = _compacted if compact else _together
    return solved(step, x, first.detach().clone(), epsilon, max_steps)


def _compacted(step: Step, x: Tensor, z: Tensor, epsilon: float, max_steps: int) -> Solution:
    steps = torch.ones(len(z), dtype=torch.int64, device=z.device)
    converged = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    active = torch.arange(len(z), device=z.device)
    for _ in range(max_steps - 1):
        if not len(active):
            break
        old = z[active]
        new = step(x[active], old).to(z.dtype)
        still = relative_change(new, old) < epsilon
        z[active] = new
        steps[active] += 1
        converged[active] = still
        active = active[~still]
    return Solution(z, steps, converged)


def _together(step: Step, x: Tensor, z: Tensor, epsilon: float, max_steps: int) -> Solution:
    steps = torch.ones(len(z), dtype=torch.int64, device=z.device)
    converged = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    for number in range(1, max_steps):
        # The host waits for this: seldom.
        if number % LOOK_EVERY == 0 and bool(converged.all()):
            break
        new = step(x, z).to(z.dtype)
        still = relative_change(new, z) < epsilon
        z = torch.where(converged.view(-1, *[1] * (z.dim() - 1)), z, new)
        steps += ~converged
        converged |= still
    return Solution(z, steps, converged)


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
    control: one map, whether the block is passed once (z = x) or iterated, in training and after.
    Under damping s is 1, and every step after the first is averaged with the iterate before it,
    which leaves g and its fixed point as they are.

    All steps but the last run without gradient and in evaluation mode, which leaves running
    statistics alone and makes the images of a batch independent. The last step, for all images
    together, carries the gradient: the phantom gradient (Geng et al. 2021, "On Training Implicit
    Models", with one step).

    The mask's gradient is what iterating changes, for chosen images and for others alike, both
    outcomes under the running statistics. For it all images are iterated in training.
    """

    block: Block
    index: int
    controller: Controller

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The block's output for x (N, ...)."""
        module = self.block.module
        scale = self.controller.scale(self.index)

        def step(z: Tensor, addend: Tensor | None = None) -> Tensor:
            def plain(z: Tensor) -> Tensor:
                return type(module).forward(module, z, *args, **kwargs)

            return self.controlled(plain, z, scale, addend)

        plan, options = self.controller.plan, self.controller.options
        epsilon, k_max = options.limits
        if plan is None or k_max == 1:
            return step(x)
        mask = plan.mask[:, self.index]
        chosen = mask.detach() > 0.5
        rows = None
        if options.compaction and not mask.requires_grad:
            rows = chosen.nonzero().squeeze(1)
            if not len(rows):
                return step(x)

        def averaged(inner: Tensor, z: Tensor) -> Tensor:
            return self._averaged(step(z, inner - z), z)

        with torch.no_grad(), eval_mode(module):
            iterated = x.detach() if rows is None else x.detach()[rows]
            first = step(iterated)
            found = solve(
                averaged,
                iterated,
                first,
                0.0 if options.mode == "fixed" else epsilon,
                k_max - 1,
                options.compaction,
            )
            gain = averaged(iterated, found.z) - first if mask.requires_grad else None
        z = found.z.to(x.dtype)
        among = _column(chosen, x)
        start = torch.where(among, z, x) if rows is None else x.index_copy(0, rows, z)
        out = step(start, torch.where(among, x - start, 0.0))
        if self.controller.damped:  # the gradient stays that of a whole step
            out = out + torch.where(among, (self._averaged(out, start) - out).detach(), 0.0)
        reached = out.detach() if rows is None else out.detach()[rows]
        still = found.converged | (relative_change(reached, z) < epsilon)
        self._record(plan, rows, chosen, found.steps + 1, still)
        if gain is None:
            return out
        return out + (_column(mask - mask.detach(), x) * gain).to(out.dtype)

    def controlled(
        self, plain: Any, z: Tensor, scale: Tensor | float, addend: Tensor | None
    ) -> Tensor:
        """``act(z + addend + scale * g(z))`` by way of the plain block, ``act(z + g(z))``."""
        free = isinstance(scale, float)  # of 1
        if self.block.kind in ("vit", "swin"):  # two branches, and nothing after the sum
            out = plain(z)
            out = out if free else out - (1 - scale) * (out - z)
            return out if addend is None else out + addend
        if free and addend is None:
            return plain(z)
        with branch_output(self.block.branch_ends[0], scale, 0.0 if addend is None else addend):
            return plain(z)

    def _averaged(self, new: Tensor, old: Tensor) -> Tensor:
        """The next iterate: under damping between the new one and the old one."""
        if not self.controller.damped:
            return new
        return old + self.controller.options.damping * (new - old)

    def _record(
        self, plan: Plan, rows: Tensor | None, chosen: Tensor, steps: Tensor, still: Tensor
    ) -> None:
        steps = steps.to(plan.steps.dtype)
        if rows is not None:
            plan.steps[rows, self.index] = plan.iterations[rows, self.index] = steps
            plan.converged[rows, self.index] = still
            return
        plan.steps[:, self.index] = steps
        plan.iterations[:, self.index] = torch.where(chosen, steps, 1.0)
        plan.converged[:, self.index] = chosen & still


def _column(values: Tensor, like: Tensor) -> Tensor:
    """Values (N,) in a shape that goes with images (N, ...)."""
    return values.view(-1, *[1] * (like.dim() - 1))


@contextmanager
def branch_output(end: nn.Module, scale: Tensor | float, addend: Tensor | float) -> Iterator[None]:
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
        with controller.following_weights():
            with eval_mode(self.backbone):
                controller.count(plain, x)
                plan = controller.choose(plain, x)
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

    def __call__(
        self, inputs: Any, data_samples: Any = None, mode: str = "tensor", index: Any = None
    ) -> Any:
        """What the model gives in that mode; the numbers of images (``index``) change nothing."""
        controller = self.controller
        controller.wants_loss = mode == "loss"
        try:
            out = type(self.model).forward(self.model, inputs, data_samples, mode=mode)
        finally:  # the backbone may next be used by itself
            controller.wants_loss = False
            loss, controller.loss = controller.loss, None
        return out if loss is None else {**out, "loss_introspection": loss}
