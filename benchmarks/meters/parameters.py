"""Parameter counts, the bytes of all stored weights, and the size on disk."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

from benchmarks.meters.storage import unique_bytes, unique_elements
from tasks.errors import UserError

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""What a norm has seen: needed at inference, but measured on data and no weight."""
_NO_WEIGHTS = (torch.int64, torch.bool)
"""Indices, counters and masks."""
_ELEMENTWISE = (
    *(_NormBase, nn.LayerNorm, nn.GroupNorm, nn.PReLU, nn.Embedding, nn.EmbeddingBag),
    *((nn.RMSNorm,) if hasattr(nn, "RMSNorm") else ()),
)


class ParameterCount(NamedTuple):
    """Unique elements: all that are stored, and those that take gradients."""

    stored: int
    trainable: int


class WeightBytes(NamedTuple):
    """Unique bytes: of all stored weights, and of those that are parameters."""

    stored: int
    parameters: int

    @property
    def outside(self) -> int:
        """Bytes of weights in buffers, or packed into other objects."""
        return self.stored - self.parameters


class _CountingSink(io.RawIOBase):
    """A file that keeps the number of bytes and no bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        written = memoryview(data).nbytes  # type: ignore[arg-type]
        self.size += written
        return written


def parameters(model: nn.Module) -> ParameterCount:
    """Count the model's parameters; a stored element counts once, however it is viewed.

    Buffers (running statistics) are not parameters. Of views of one tensor (``w`` and ``w.t()``,
    ``a`` and ``a[:2]``, an expanded row) the shared elements count once.

    Raises:
        UserError: a parameter of a lazy module has no shape yet.
    """
    _require_shapes(model)
    return ParameterCount(
        stored=unique_elements(model.parameters()),
        trainable=unique_elements(p for p in model.parameters() if p.requires_grad),
    )


def weight_bytes(model: nn.Module) -> WeightBytes:
    """Bytes of the weights that a network must store, wherever it keeps them.

    These are parameters, buffers of the state dict, and what quantisation packs into other objects
    or tensors of its own. Running statistics of norms are none (``disk_size`` has them), nor are
    buffers of indices, counters and masks (int64, bool).

    Raises:
        UserError: as :func:`parameters`, or a weight hides its memory.
    """
    _require_shapes(model)
    held = list(model.parameters())
    kept = [
        tensor
        for name, value in model.state_dict().items()
        if name.rsplit(".", 1)[-1] not in _STATISTICS
        for tensor in _tensors(value)
        if tensor.dtype not in _NO_WEIGHTS
    ]
    return WeightBytes(unique_bytes([*held, *kept]), unique_bytes(held))


def multiplying_weights(model: nn.Module) -> list[str]:
    """Names of weights of two dimensions or more, but for those of norms and embeddings."""
    _require_shapes(model)
    found = []
    for prefix, module in model.named_modules():
        if isinstance(module, _ELEMENTWISE):
            continue
        hidden = module._non_persistent_buffers_set
        buffers = {k: v for k, v in module._buffers.items() if k not in hidden}
        found += [
            f"{prefix}.{name}".removeprefix(".")
            for name, tensor in (module._parameters | buffers).items()
            if tensor is not None
            and tensor.dtype not in _NO_WEIGHTS
            and sum(side > 1 for side in tensor.shape) >= 2
        ]
    return found


def disk_size(model: nn.Module) -> int:
    """Bytes of the state dict as ``torch.save`` writes it, zip container included.

    Shared storages are written once; a view is written with its whole storage, as in a real
    checkpoint.

    Raises:
        UserError: as :func:`parameters`.
    """
    _require_shapes(model)
    sink = _CountingSink()
    torch.save(model.state_dict(), sink)
    return sink.size


def _require_shapes(model: nn.Module) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise UserError(
                f"'{name}' of a lazy module has no shape yet: run the model on a batch when it is "
                "built, or name the sizes of its layers"
            )


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor in a value of a state dict: containers and packed weights are opened."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _each(value.values())
    elif isinstance(value, list | tuple):
        yield from _each(value)
    elif isinstance(value, torch.ScriptObject):
        yield from _tensors(value.__getstate__())


def _each(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        yield from _tensors(value)
