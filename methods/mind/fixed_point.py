"""The fixed point of ``z = f(x, z)`` for each image by itself: stop, freeze, compact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

Step = Callable[[Tensor, Tensor], Tensor]
"""``(x, z_k) -> z_{k+1}``, both (N, ...), image by image independent of the others."""


LOOK_EVERY = 8
"""Steps after which all images together are asked whether they stand still."""


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


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards each submodule has its own mode again."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, training in modes:
            child.training = training
