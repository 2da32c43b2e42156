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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.meters.countings import COUNTINGS
from benchmarks.meters.formulas import FORMULAS
from benchmarks.meters.free import is_free
from benchmarks.meters.modes import evaluating, forward
from benchmarks.meters.module_operations import ModuleCounter
from benchmarks.meters.parameters import multiplying_weights
from benchmarks.meters.unseen import Watch
from tasks.errors import UserError, unknown_name


class UnknownOperation(UserError):  # noqa: N818
    """An operation without a formula that is not known to be free."""


class OperationCounter(TorchDispatchMode):
    """Count the multiply-adds of everything that runs inside ``with OperationCounter() as c:``.

    ``c.macs`` is the total and ``c.by_operation`` the total of every operation that counted. Runs
    compiled models uncompiled, and attention without PyTorch's fused encoder layer, since both
    would hide operations. Recomputation by activation checkpointing is counted: it is executed.
    So is work in threads that are started inside; see :mod:`benchmarks.meters.unseen`.

    Args:
        counting: a name of ``COUNTINGS``. Conventions other than ``plain`` are about composite
            operations, which arrive whole only with ``composite``.
        strict: raise where something has no known count. Else it runs, counts nothing, and
            ``c.unknown`` says what is missing: for a step that must not be left half done.
        composite: below autograd's keys, so that composite operations arrive whole instead of in
            parts; nothing inside can take a gradient.

    Raises:
        UserError: no such counting, or one by module, which only ``count_macs`` can do.
        UnknownOperation: an operation ran that has no formula or, told at the end, work was done
            where it cannot be counted.
    """

    def __init__(
        self, counting: str = "plain", strict: bool = True, composite: bool = False
    ) -> None:
        super().__init__()
        if counting not in COUNTINGS:
            raise unknown_name("counting", counting, COUNTINGS)
        if COUNTINGS[counting].modules:
            raise UserError(f"the counting '{counting}' is by module: call count_macs with it")
        self._formulas = {**FORMULAS, **COUNTINGS[counting].formulas}
        self._strict = strict
        self._composite = composite
        self._scopes: list[ExitStack] = []
        self._lock = Lock()
        self._watch = Watch(self._elsewhere)
        self._unknown = ""
        self.by_operation: Counter[str] = Counter()

    @property
    def macs(self) -> int:
        """Multiply-adds counted so far."""
        return sum(self.by_operation.values())

    @property
    def unknown(self) -> str:
        """Why the count is not complete; empty where it is."""
        return self._unknown or self._watch.problem

    @property
    def reads(self) -> bool:
        """Whether values of tensors were read: for other inputs the count may be another."""
        return self._watch.reads

    def __enter__(self) -> OperationCounter:
        scope = ExitStack()
        fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        scope.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        # Compiled code would run unseen: not every dynamo steps aside by itself.
        if "torch._dynamo" in sys.modules:
            scope.enter_context(torch.compiler.set_stance("force_eager"))
        scope.enter_context(self._watch.everywhere())
        if self._composite:
            scope.enter_context(torch._C._AutoDispatchBelowAutograd())
        self._scopes.append(scope)
        super().__enter__()
        return self

    def __exit__(self, kind: Any, *exception: Any) -> None:
        super().__exit__(kind, *exception)
        self._scopes.pop().close()
        if kind is None and self._strict and self.unknown:
            raise UnknownOperation(self.unknown)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return self._run(self, func, args, kwargs or {}, self._strict)

    def _run(
        self,
        mode: TorchDispatchMode,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        strict: bool,
    ) -> Any:
        """Run an operation that ``mode`` caught, and count it."""
        self._watch.dispatched(func, args)
        packet = getattr(func, "overloadpacket", func)
        formula = self._formulas.get(packet) or self._formulas.get(str(packet))
        if formula is not None:
            out = func(*args, **kwargs)
            macs = formula(args, kwargs, out)
            if macs:
                with self._lock:
                    self.by_operation[str(packet)] += macs
            return out
        if is_free(func):
            return func(*args, **kwargs)
        if isinstance(func, torch._ops.OpOverload):
            # Entered again for the parts: DispatchMode leaves the stack while it handles a call.
            with _Reentered(mode):
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        self._unknown = (
            f"no count is known for the operation '{packet}': register one with "
            f"benchmarks.meters.formulas.register_formula(torch.ops.{packet}, "
            "lambda args, kwargs, out: <multiply-adds>), or 0 for an operation without any"
        )
        if strict:
            raise UnknownOperation(self._unknown)
        return func(*args, **kwargs)

    @contextmanager
    def _elsewhere(self) -> Iterator[None]:
        """Count in the thread that enters, as long as the count goes on."""
        with ExitStack() as scope:
            if self._composite:
                scope.enter_context(torch.no_grad())
                scope.enter_context(torch._C._AutoDispatchBelowAutograd())
            scope.enter_context(self._watch.here())
            scope.enter_context(_InThread(self))
            yield


class _InThread(TorchDispatchMode):
    """Counts for a counter in another thread, whose errors would not reach the counter's own."""

    def __init__(self, counter: OperationCounter) -> None:
        super().__init__()
        self._counter = counter

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if not self._counter._scopes:  # the thread outlived the count
            return func(*args, **(kwargs or {}))
        return self._counter._run(self, func, args, kwargs or {}, strict=False)


class _Reentered:
    """The bare mode, without the scopes that the outer ``with`` holds already."""

    def __init__(self, mode: TorchDispatchMode) -> None:
        self._mode = mode

    def __enter__(self) -> None:
        TorchDispatchMode.__enter__(self._mode)

    def __exit__(self, *exception: Any) -> None:
        TorchDispatchMode.__exit__(self._mode, *exception)


@dataclass(frozen=True)
class Count:
    """The multiply-adds of one forward pass.

    Attributes:
        macs: of the whole pass.
        inside: of the part of the model that was asked about.
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
    if example.shape[0] != 1:
        raise UserError(f"MACs are counted for one image: the example holds {example.shape[0]}")
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
    devices = [inputs.device] if inputs.device.type == "cuda" else []
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
