"""Multiply-adds of a forward pass and floating-point operations of a training step.

Operations are seen where PyTorch dispatches them, so that whatever a model does is either counted,
known to be free, or an error: nothing unknown counts as zero. A forward pass is seen above the
composite operations (``linear``, ``batch_norm``, ``adaptive_avg_pool2d``,
``scaled_dot_product_attention``), the level that the papers' counters work at; a training step is
seen below autograd, where its backward operations are. A counting by module (see
``module_operations``) is watched by the same eyes: multiply-adds outside its modules are an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from benchmarks.meters.counter import OperationCounter, UnknownOperation
from benchmarks.meters.countings import COUNTINGS
from benchmarks.meters.modes import evaluating, forward
from benchmarks.meters.module_operations import ModuleCounter
from benchmarks.meters.parameters import multiplying_weights
from methods import costing
from tasks.base import size_of
from tasks.errors import UserError

__all__ = [
    "COUNTINGS",
    "Count",
    "OperationCounter",
    "UnknownOperation",
    "count_macs",
    "count_pass",
    "count_train_flops",
]


@dataclass(frozen=True)
class Count:
    """The multiply-adds of one forward pass.

    Attributes:
        macs: of the whole pass.
        inside: of the part of the model that is wanted.
        reads: whether values of tensors were read in Python or decided a shape: only then can
            another image of the same shape cost something else.
    """

    macs: int
    inside: int
    reads: bool


def count_macs(
    model: nn.Module,
    example: torch.Tensor,
    counting: str = "plain",
    run: Callable[[nn.Module, torch.Tensor], object] = forward,
) -> int:
    """Multiply-adds of one forward pass for one image, see :func:`count_pass`.

    Args:
        model: the network; an mmengine model is called with ``mode="tensor"``.
        example: one image as a batch, shape (1, C, H, W), on the model's device.
        counting: a name of ``COUNTINGS``; ``plain`` unless a paper's figure is to be met.
        run: how to call the model, where a call with the tensor alone does not do.

    Raises:
        UserError: the example is not one image, or as :func:`count_pass`.
    """
    if size_of(example) != 1:
        raise UserError(f"MACs are counted for one image: the example holds {size_of(example)}")
    return count_pass(model, example, counting, run).macs


def count_pass(
    model: nn.Module,
    inputs: torch.Tensor,
    counting: str = "plain",
    run: Callable[[nn.Module, torch.Tensor], object] = forward,
    part: nn.Module | None = None,
) -> Count:
    """Count one forward pass for a batch of images, in evaluation mode.

    The model's modes, running statistics and the random state are as before afterwards.

    Args:
        model: the network; an mmengine model is called with ``mode="tensor"``.
        inputs: the batch, shape (N, C, H, W), on the model's device.
        counting: a name of ``COUNTINGS``; ``plain`` unless a paper's figure is to be met.
        run: how to call the model, where a call with the tensor alone does not do.
        part: a module of the model whose share is counted beside the whole.

    Raises:
        UserError: no such counting.
        UnknownOperation: the model uses an operation without a formula, works where nothing can
            be counted, holds weights but multiplies nothing, or multiplies outside of the modules
            of a counting by module.
    """
    device = next(leaf.device for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor))
    devices = [device] if device.type == "cuda" else []
    by_module = COUNTINGS[counting].modules if counting in COUNTINGS else {}
    operations = OperationCounter("plain" if by_module else counting, composite=True)
    modules = ModuleCounter(by_module)
    with (
        torch.random.fork_rng(devices=devices),
        evaluating(model),
        operations,
        modules.counting(model, lambda: operations.macs),
        _share(part, lambda: operations.macs) as inside,
    ):
        run(model, inputs)
    if by_module and modules.covered < operations.macs:
        raise UnknownOperation(
            f"{operations.macs - modules.covered} multiply-adds ran outside of the modules that "
            f"the counting '{counting}' prices: take another counting"
        )
    macs = modules.total if by_module else operations.macs
    weights = [] if macs else multiplying_weights(model)
    if weights:
        raise UnknownOperation(
            f"0 multiply-adds were counted although there are weights to multiply with "
            f"({', '.join(weights[:3])}{', ...' if len(weights) > 3 else ''}): does the network "
            "compute outside of torch, in another process or in a thread of its own?"
        )
    return Count(macs, sum(inside), operations.reads)


@contextmanager
def _share(part: nn.Module | None, executed: Callable[[], int]) -> Iterator[list[int]]:
    """The multiply-adds of each call of a module; none without one."""
    shares: list[int] = []
    entered: list[int] = []
    with ExitStack() as scope:
        if part is not None:
            enter = part.register_forward_pre_hook(lambda *_: entered.append(executed()))
            leave = part.register_forward_hook(
                lambda *_: shares.append(executed() - entered.pop()), always_call=True
            )
            scope.callback(enter.remove)
            scope.callback(leave.remove)
        yield shares


def count_train_flops(step: Callable[[], object], batch_size: int) -> int:
    """Floating-point operations of a training step for each image, 2 for a multiply-add.

    Args:
        step: runs one real step: forward, backward and, if wanted, the optimizer (whose
            element-wise work counts nothing). It changes the model as any step does.
        batch_size: images in the step, summed over accumulated batches.

    Raises:
        UnknownOperation: the step uses an operation without a formula.
    """
    with OperationCounter() as counter:
        step()
    return round(2 * counter.macs / batch_size)


def _macs(
    model: nn.Module,
    inputs: torch.Tensor,
    forward: Callable[[nn.Module, torch.Tensor], object] = forward,
) -> float:
    return float(count_pass(model, inputs, run=forward).macs)


costing.count_with(_macs)
