"""Multiply-adds of a forward pass and floating-point operations of a training step.

Operations are seen where PyTorch dispatches them, so that whatever a model does is either counted,
known to be free, or an error: nothing unknown counts as zero. A forward pass is seen above the
composite operations (``linear``, ``batch_norm``, ``adaptive_avg_pool2d``,
``scaled_dot_product_attention``), the level that the papers' counters work at; a training step is
seen below autograd, where its backward operations are. A counting by module (see
``module_operations``) is watched by the same eyes: multiply-adds outside its modules are an error.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.meters.formulas import (
    FORMULAS,
    FVCORE,
    NO_ATTENTION,
    Formula,
    batch_norm_training,
)
from benchmarks.meters.free import is_free
from benchmarks.meters.modes import evaluating, forward
from benchmarks.meters.module_operations import MMCV, ModuleCounter, ModuleFormula
from tasks.errors import UserError, unknown_name


class UnknownOperation(UserError):  # noqa: N818
    """An operation without a formula that is not known to be free."""


@dataclass(frozen=True)
class Counting:
    """A convention: what counts beside (or instead of) the multiply-adds of ``FORMULAS``.

    With ``modules`` it prices modules, and nothing else counts.
    """

    summary: str
    source: str
    formulas: Mapping[Any, Formula] = field(default_factory=dict)
    modules: Mapping[type[nn.Module], ModuleFormula] = field(default_factory=dict)


COUNTINGS: dict[str, Counting] = {
    "plain": Counting(
        "multiply-adds of convolutions, linear layers, matrix products and attention",
        "torch.utils.flop_counter, halved",
    ),
    "fvcore": Counting(
        "plain without fused attention, plus norms, adaptive pooling and upsampling by element",
        "fvcore.nn.FlopCountAnalysis of a model in evaluation mode; the convention of ADN",
        {**FVCORE, **NO_ATTENTION},
    ),
    "fvcore_train": Counting(
        "fvcore with batch norm at 5 operations an element",
        "fvcore.nn.FlopCountAnalysis of a model in training mode; the convention of ODN",
        {**FVCORE, **NO_ATTENTION, torch.ops.aten.batch_norm: batch_norm_training},
    ),
    "unfused_attention": Counting(
        "fvcore with the two matrix products of every attention",
        "fvcore.nn.FlopCountAnalysis where attention is written as two matmuls; ADN's ViT-B/16",
        FVCORE,
    ),
    "mmcv": Counting(
        "convolutions with their bias, linear layers, norms at 2 an element, activations and "
        "pooling at 1: of modules, and of nothing that a forward pass calls by itself",
        "mmcv.cnn.get_model_complexity_info, which mmdet's get_flops.py called up to 2.x; ADN's "
        "two-stage detectors",
        modules=MMCV,
    ),
}


class OperationCounter(TorchDispatchMode):
    """Count the multiply-adds of everything that runs inside ``with OperationCounter() as c:``.

    ``c.macs`` is the total and ``c.by_operation`` the total of every operation that counted. Runs
    compiled models uncompiled, and attention without PyTorch's fused encoder layer, since both
    would hide operations. Recomputation by activation checkpointing is counted: it is executed.

    Args:
        counting: a name of ``COUNTINGS``. Conventions other than ``plain`` are about composite
            operations, which only ``count_macs`` sees.

        strict: raise at an operation without a formula. Else it runs, counts nothing, and
            ``c.unknown`` says what is missing: for a step that must not be left half done.

    Raises:
        UserError: no such counting, or one by module, which only ``count_macs`` can do.
        UnknownOperation: an operation ran that has no formula.
    """

    def __init__(self, counting: str = "plain", strict: bool = True) -> None:
        super().__init__()
        if counting not in COUNTINGS:
            raise unknown_name("counting", counting, COUNTINGS)
        if COUNTINGS[counting].modules:
            raise UserError(f"the counting '{counting}' is by module: call count_macs with it")
        self._formulas = {**FORMULAS, **COUNTINGS[counting].formulas}
        self._strict = strict
        self._scopes: list[ExitStack] = []
        self.unknown = ""
        self.by_operation: Counter[str] = Counter()

    @property
    def macs(self) -> int:
        """Multiply-adds counted so far."""
        return sum(self.by_operation.values())

    def __enter__(self) -> OperationCounter:
        scope = ExitStack()
        fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        scope.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        # Compiled code would run unseen: not every dynamo steps aside by itself.
        if "torch._dynamo" in sys.modules:
            scope.enter_context(torch.compiler.set_stance("force_eager"))
        self._scopes.append(scope)
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._scopes.pop().close()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        packet = getattr(func, "overloadpacket", func)
        formula = self._formulas.get(packet) or self._formulas.get(str(packet))
        if formula is not None:
            out = func(*args, **kwargs)
            macs = formula(args, kwargs, out)
            if macs:
                self.by_operation[str(packet)] += macs
            return out
        if is_free(func):
            return func(*args, **kwargs)
        if isinstance(func, torch._ops.OpOverload):
            # Entered again for the parts: DispatchMode leaves the stack while it handles a call.
            with _Reentered(self):
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        self.unknown = (
            f"no count is known for the operation '{packet}': register one with "
            f"benchmarks.meters.formulas.register_formula(torch.ops.{packet}, "
            "lambda args, kwargs, out: <multiply-adds>), or 0 for an operation without any"
        )
        if self._strict:
            raise UnknownOperation(self.unknown)
        return func(*args, **kwargs)


class _Reentered:
    """The bare mode, without the scopes that the outer ``with`` holds already."""

    def __init__(self, mode: OperationCounter) -> None:
        self._mode = mode

    def __enter__(self) -> None:
        TorchDispatchMode.__enter__(self._mode)

    def __exit__(self, *exception: Any) -> None:
        TorchDispatchMode.__exit__(self._mode, *exception)


def count_macs(
    model: nn.Module,
    example: torch.Tensor,
    counting: str = "plain",
    run: Callable[[nn.Module, torch.Tensor], object] = forward,
) -> int:
    """Multiply-adds of one forward pass for one image, in evaluation mode.

    The model's modes, running statistics and the random state are as before afterwards.

    Args:
        model: the network; an mmengine model is called with ``mode="tensor"``.
        example: one image as a batch, shape (1, C, H, W), on the model's device.
        counting: a name of ``COUNTINGS``; ``plain`` unless a paper's figure is to be met.
        run: how to call the model, where a call with the tensor alone does not do.

    Raises:
        UserError: the example is not one image, or no such counting.
        UnknownOperation: the model uses an operation without a formula, or multiplies outside of
            the modules of a counting by module.
    """
    if example.shape[0] != 1:
        raise UserError(f"MACs are counted for one image: the example holds {example.shape[0]}")
    devices = [example.device] if example.device.type == "cuda" else []
    by_module = COUNTINGS[counting].modules if counting in COUNTINGS else {}
    operations = OperationCounter("plain" if by_module else counting)
    modules = ModuleCounter(by_module)
    with (
        torch.random.fork_rng(devices=devices),
        evaluating(model),
        # Below autograd's keys composite operations arrive whole instead of in parts.
        torch._C._AutoDispatchBelowAutograd(),
        operations,
        modules.counting(model, lambda: operations.macs),
    ):
        run(model, example)
    if not by_module:
        return operations.macs
    if modules.covered < operations.macs:
        raise UnknownOperation(
            f"{operations.macs - modules.covered} multiply-adds ran outside of the modules that "
            f"the counting '{counting}' prices: take another counting"
        )
    return modules.total


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
