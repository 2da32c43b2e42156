"""What a counter of one thread's operations does not see by itself.

PyTorch's modes belong to a thread. A :class:`Watch` takes the counter along into threads that are
started during a count and notices the rest: modules that are called in other threads, and arrays
that leave torch and come back, whose work no mode of torch can see.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

IN_A_THREAD = (
    "modules ran in a thread that was started before the count, where no operation is counted: "
    "start threads in the forward pass, or work without"
)
WEIGHTS_LEFT = (
    "weights left torch as an array, so that what was computed with them is not counted: compute "
    "with torch"
)
ROUND_TRIP = (
    "activations left torch as an array and an array came back, so that what was computed between "
    "is not counted: compute with torch"
)

_LEAVING = frozenset({"numpy", "__array__", "__dlpack__", "tolist"})
_READING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
_READING_NAMES = frozenset({"is_nonzero", "nms"})
"""Read values too, but carry no tag."""
_INDEXING = frozenset({"index", "_unsafe_index"})
_MASKS = (torch.bool, torch.uint8)


class Watch:
    """Looks out for a count.

    Args:
        counting: gives a context that counts the operations of the thread that enters it.

    Attributes:
        problem: why the count cannot be complete; empty where nothing speaks against it.
        reads: whether values of tensors were read, so that other values may take another path or
            give other shapes.
    """

    def __init__(self, counting: Callable[[], AbstractContextManager[Any]]) -> None:
        self._counting = counting
        self._threads: set[int] = set()
        self._weights: set[int] = set()
        self._left = False
        self.problem = ""
        self.reads = False

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        """Watch this thread, and those that are started or given work inside."""
        start, submit = threading.Thread.start, ThreadPoolExecutor.submit

        def counted_start(thread: threading.Thread) -> None:
            thread.run = self._counted(thread.run)  # type: ignore[method-assign]
            start(thread)

        def counted_submit(pool: Any, work: Callable[..., Any], /, *args: Any, **kw: Any) -> Any:
            return submit(pool, self._counted(work), *args, **kw)

        with ExitStack() as scope:
            # Of a compiled module the hook is called twice, which does no harm here.
            scope.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message="Using `torch.compile")
            scope.enter_context(patch.object(threading.Thread, "start", counted_start))
            scope.enter_context(patch.object(ThreadPoolExecutor, "submit", counted_submit))
            scope.callback(register_module_forward_pre_hook(self._module_called).remove)
            scope.enter_context(self.here())
            yield

    @contextmanager
    def here(self) -> Iterator[None]:
        """Watch the arrays of the thread that enters."""
        ident = threading.get_ident()
        self._threads.add(ident)
        try:
            with _Arrays(self):
                yield
        finally:
            self._threads.discard(ident)

    def dispatched(self, operation: Any, args: tuple[Any, ...]) -> None:
        """Take note of an operation that is about to run."""
        packet = getattr(operation, "overloadpacket", operation)
        name = getattr(packet, "__name__", "")
        if name == "lift_fresh":
            self._arrives(args[0])
        elif name in _INDEXING:
            # An index of integers is tagged too, but its shape alone decides that of the output.
            indices = args[1] if len(args) > 1 else ()
            self.reads |= any(each is not None and each.dtype in _MASKS for each in indices)
        elif name in _READING_NAMES or _READING & set(getattr(operation, "tags", ())):
            self.reads = True

    def called(self, function: Any, args: tuple[Any, ...]) -> None:
        """Take note of a function of torch that Python calls."""
        for each in args:
            if isinstance(each, nn.Parameter):
                self._weights.add(_storage(each))
        if getattr(function, "__name__", "") in _LEAVING and args:
            self._leaves(args[0])

    def _leaves(self, tensor: torch.Tensor) -> None:
        self.reads = True
        if not _holds_numbers(tensor):
            return
        if _storage(tensor) in self._weights:
            self.problem = self.problem or WEIGHTS_LEFT
        # With gradients on, what comes back carries none: targets and the like, not activations.
        self._left |= not torch.is_grad_enabled()

    def _arrives(self, tensor: torch.Tensor) -> None:
        if self._left and _holds_numbers(tensor) and not torch.is_grad_enabled():
            self.problem = self.problem or ROUND_TRIP

    def _counted(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() in self._threads:
                return work(*args, **kwargs)
            with self._counting():
                return work(*args, **kwargs)

        return counted

    def _module_called(self, module: nn.Module, args: Any) -> None:
        # A thread of autograd's has the modes of the thread that it works for.
        if threading.get_ident() not in self._threads and not _modes():
            self.problem = self.problem or IN_A_THREAD


class _Arrays(TorchFunctionMode):
    """Tells a watch of every call; arrays leave by functions that dispatch nothing."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self._watch.called(func, args)
        return func(*args, **(kwargs or {}))


def _modes() -> list[Any]:
    return torch.utils._python_dispatch._get_current_dispatch_mode_stack()


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _holds_numbers(tensor: torch.Tensor) -> bool:
    """Whether it may be an operand or a result of a matrix product: no index, scalar or label."""
    return tensor.is_floating_point() and tensor.dim() >= 2
