"""The mode that counts: every operation that PyTorch dispatches is priced, free, or an error."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.meters.countings import COUNTINGS
from benchmarks.meters.formulas import FORMULAS
from benchmarks.meters.free import is_free
from benchmarks.meters.unseen import Watch
from tasks.errors import UserError, unknown_name


class UnknownOperation(UserError):  # noqa: N818
    """An operation without a formula that is not known to be free."""


class OperationCounter(TorchDispatchMode):
    """Count the multiply-adds of everything that runs inside ``with OperationCounter() as c:``.

    ``c.macs`` is the total, ``c.by_operation`` the total of every operation that counted, and
    ``c.calls`` says how often each operation ran, whether it counts or not. Runs compiled models
    uncompiled, and attention without PyTorch's fused encoder layer, since both would hide
    operations. Recomputation by activation checkpointing is counted: it is executed. So is work in
    threads that are started inside; see :mod:`benchmarks.meters.unseen`.

    Args:
        counting: a name of ``COUNTINGS``. Conventions other than ``plain`` are about composite
            operations, which arrive whole only with ``composite``.
        strict: raise where something has no known count. Else it runs, counts nothing, and
            ``c.unknown`` says what is missing: for a step that must not be left half done.
        composite: below autograd's keys, so that composite operations arrive whole instead of in
            parts; nothing inside can take a gradient.

    Raises:
        UserError: no such counting, or one by module, which only ``count_macs`` can do.
        UnknownOperation: an operation ran that has no formula or, raised at the end, work was done
            where it cannot be counted.
    """

    supports_higher_order_operators = True  # they arrive here, to be refused by name

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
        self.calls: Counter[str] = Counter()

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
        with self._lock:
            self.calls[str(packet)] += 1
        formula = self._formulas.get(packet) or self._formulas.get(str(packet))
        if formula is not None:
            out = func(*args, **kwargs)
            macs = formula(args, kwargs, out)
            if macs is None:
                self._refuse(packet, strict)
            elif macs:
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
        self._refuse(packet, strict)
        return func(*args, **kwargs)

    def _refuse(self, packet: Any, strict: bool) -> None:
        self._unknown = (
            f"no count is known for the operation '{packet}': register one with "
            f"benchmarks.meters.formulas.register_formula(torch.ops.{packet}, "
            "lambda args, kwargs, out: <multiply-adds>), or 0 for an operation without any"
        )
        if strict:
            raise UnknownOperation(self._unknown)

    @contextmanager
    def _elsewhere(self) -> Iterator[None]:
        """Count in the thread that enters, as long as the count lasts."""
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
