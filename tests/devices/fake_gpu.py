"""A GPU in pure Python: it refuses to mix with CPU tensors and logs what the host waits for.

Tensors on the device ``fgpu`` hold CPU data and run CPU kernels, so that numbers are right and all
that a real GPU would refuse or wait for is seen. Importing this module changes torch for the whole
process: import it in a process of its own.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from devices.places import place
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("fgpu")
GPU = torch.device("fgpu:0")

WAITS = frozenset(
    (
        *("_local_scalar_dense", "_unique", "_unique2", "bincount", "equal", "is_nonzero", "item"),
        *("masked_select", "nonzero", "unique_consecutive", "unique_dim"),
    )
)
"""Operations whose result, or its size, the host has to know."""
INDEXING = frozenset(("index", "index_put", "index_put_", "_index_put_impl_"))
_NO_KERNEL = frozenset(
    (
        *("_reshape_alias", "_unsafe_view", "alias", "as_strided", "chunk", "detach", "diagonal"),
        *("empty", "empty_like", "empty_strided", "expand", "lift_fresh", "new_empty"),
        *("new_empty_strided", "permute", "resize_", "select", "set_", "slice", "split"),
        *("split_with_sizes", "squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze", "view"),
        "view_as_real",
    )
)
"""Operations that launch nothing."""


class MixedDevices(RuntimeError):
    """An operation was given tensors of the GPU and of the CPU."""


class Log:
    """What the device was requested while it was on."""

    def __init__(self) -> None:
        self.on = False
        self.waits: Counter[str] = Counter()
        """How often the host waited, by ``operation at file:line``."""
        self.launches = 0
        """Kernels and copies that were queued."""

    def wait(self, what: str) -> None:
        """Take down that the host waits, and where in the code."""
        if self.on:
            self.waits[f"{what} at {place()}"] += 1


LOG = Log()


class GpuTensor(torch.Tensor):
    """A tensor on the device; ``raw`` is its data."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw: torch.Tensor, requires_grad: bool = False) -> GpuTensor:
        return torch.Tensor._make_wrapper_subclass(
            cls, raw.size(), strides=raw.stride(), storage_offset=0, dtype=raw.dtype,
            device=GPU, requires_grad=requires_grad,
        )  # fmt: skip

    def __init__(self, raw: torch.Tensor, requires_grad: bool = False) -> None:
        self.raw = raw

    def __repr__(self) -> str:
        return f"GpuTensor({self.raw!r})"

    def __reduce_ex__(self, protocol: int) -> Any:
        return GpuTensor, (self.raw.detach(), self.requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> GpuTensor:
        if id(self) not in memo:
            memo[id(self)] = copied = GpuTensor(self.raw.detach().clone())
            copied.requires_grad_(self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                copied._is_param = True
        return memo[id(self)]

    def untyped_storage(self) -> Any:
        return self.raw.untyped_storage()

    def data_ptr(self) -> int:
        return self.raw.data_ptr()

    def tolist(self) -> Any:
        LOG.wait("tolist")
        return self.raw.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert fgpu:0 device type tensor to numpy: use cpu() first")

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        keys = tuple(torch.tensor(k, device=GPU) if isinstance(k, list) else k for k in keys)
        return torch.Tensor.__getitem__(self, keys if isinstance(key, tuple) else keys[0])

    def new_tensor(
        self, data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> torch.Tensor:
        dtype, device = dtype or getattr(data, "dtype", self.dtype), device or GPU
        return torch.as_tensor(data, dtype=dtype).detach().clone().to(device)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class FakeGpu(TorchDispatchMode):
    """The device is there inside: what makes tensors on it is seen, too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        asked = device is not None and torch.device(device).type == "fgpu"
        if asked or any(isinstance(leaf, GpuTensor) for leaf in tree_leaves((args, kwargs))):
            return _run(func, args, kwargs)
        return func(*args, **kwargs)


def _raw(value: Any) -> Any:
    return value.raw if isinstance(value, GpuTensor) else value


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func.overloadpacket.__name__
    if name == "_to_copy":
        return _converted(func, args, kwargs)
    if name == "copy_":
        return _copied(func, args, kwargs)
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    ours = [leaf for leaf in leaves if isinstance(leaf, GpuTensor)]
    # A number on the CPU may be an argument of a kernel.
    others = [leaf for leaf in leaves if not isinstance(leaf, GpuTensor) and leaf.dim()]
    if ours and others:
        if name not in INDEXING:
            shapes = [tuple(leaf.shape) for leaf in others]
            raise MixedDevices(f"{name} at {place()}: tensors {shapes} are on the CPU")
        LOG.wait(f"{name} with indices of the CPU")
    if ours and (name in WAITS or _by_mask(name, args)):
        LOG.wait(name)
    if LOG.on and name not in _NO_KERNEL:
        LOG.launches += 1
    asked = kwargs.get("device")
    on_gpu = bool(ours) if asked is None else torch.device(asked).type == "fgpu"
    plain = {k: torch.device("cpu") if k == "device" and v else v for k, v in kwargs.items()}
    found = func(*tree_map(_raw, args), **tree_map(_raw, plain))
    if name == "_local_scalar_dense":
        return found
    changed = {id(tensor.raw): tensor for tensor in ours}

    def back(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) in changed:
            return changed[id(value)]
        return GpuTensor(value) if on_gpu else value

    return tree_map(back, found)


def _by_mask(name: str, args: Any) -> bool:
    indices = args[1] if name in INDEXING else ()
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)


def _converted(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """To another type or device; to the host it waits, from it unless ``non_blocking``."""
    asked, here = kwargs.get("device"), isinstance(args[0], GpuTensor)
    there = (here if asked is None else torch.device(asked).type == "fgpu", asked)
    if here != there[0] and (here or not kwargs.get("non_blocking")):
        LOG.wait("copy to the host" if here else "copy to the device")
    LOG.launches += LOG.on
    left_out = ("device", "pin_memory")
    found = func(_raw(args[0]), **{k: v for k, v in kwargs.items() if k not in left_out})
    if asked is not None and torch.device(asked).type == "meta":
        return found.to("meta")
    return GpuTensor(found) if there[0] else found


def _copied(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    target, source = args[0], args[1]
    here, there = isinstance(source, GpuTensor), isinstance(target, GpuTensor)
    waits = not (args[2] if len(args) > 2 else kwargs.get("non_blocking"))
    if here != there and (here or (waits and source.dim())):
        LOG.wait("copy to the host" if here else "copy to the device")
    LOG.launches += LOG.on
    func(_raw(target), _raw(source), *args[2:], **kwargs)
    return target


def _without_grad(mode: bool = True) -> Any:
    return torch.no_grad() if mode is True else mode if callable(mode) else torch.enable_grad()


def _install() -> None:
    # Copies of torch.tensor(..., device=GPU) go through the dispatcher.
    torch._C._set_only_lift_cpu_tensors(True)
    # A wrapper cannot be an inference tensor.
    torch.inference_mode = _without_grad  # type: ignore[assignment,misc]
    module: Any = torch.fgpu  # type: ignore[attr-defined]
    functions = {
        "current_device": lambda: 0,
        "device": lambda device: contextlib.nullcontext(),
        "device_count": lambda: 1,
        "get_amp_supported_dtype": lambda: [torch.float16, torch.bfloat16],
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "manual_seed": lambda seed: None,
        "manual_seed_all": lambda seed: None,
        "set_rng_state": lambda state, device=None: None,
        "_is_in_bad_fork": lambda: False,
    }
    for name, function in functions.items():
        setattr(module, name, function)


def _empty(size: Any, dtype: Any = None, *_: Any, **more: Any) -> GpuTensor:
    form = more.get("memory_format") or torch.contiguous_format
    return GpuTensor(torch.empty([int(n) for n in size], dtype=dtype, memory_format=form))


def _empty_strided(size: Any, stride: Any, dtype: Any = None, *_: Any, **__: Any) -> GpuTensor:
    return GpuTensor(
        torch.empty_strided([int(n) for n in size], list(map(int, stride)), dtype=dtype)
    )


_install()
_LIBRARY = torch.library.Library("aten", "IMPL")
_LIBRARY.impl("empty.memory_format", _empty, "PrivateUse1")
_LIBRARY.impl("empty_strided", _empty_strided, "PrivateUse1")


attached = FakeGpu


@contextlib.contextmanager
def logged() -> Iterator[Log]:
    """Log from an empty page what happens inside."""
    LOG.waits.clear()
    LOG.launches, LOG.on = 0, True
    try:
        yield LOG
    finally:
        LOG.on = False
