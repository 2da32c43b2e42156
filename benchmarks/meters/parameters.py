"""Parameter counts and the size on disk."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn


class ParameterCount(NamedTuple):
    """Unique elements: all that are stored, and those that take gradients."""

    stored: int
    trainable: int


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
    """Count the model's parameters; a tensor that hangs in several places counts once.

    Buffers (running statistics) are not parameters. Views of one tensor (``a`` and ``a[:2]``
    registered as two parameters) count the shared elements once.
    """
    return ParameterCount(
        stored=_unique_elements(model.parameters()),
        trainable=_unique_elements(p for p in model.parameters() if p.requires_grad),
    )


def disk_size(model: nn.Module) -> int:
    """Bytes of the state dict as ``torch.save`` writes it, zip container included.

    Shared storages are written once; a view is written with its whole storage, as in a real
    checkpoint.
    """
    sink = _CountingSink()
    torch.save(model.state_dict(), sink)
    return sink.size


def _unique_elements(tensors: Iterable[torch.Tensor]) -> int:
    spans: dict[tuple[str, int], list[tuple[int, int]]] = {}
    total = 0
    seen: set[int] = set()
    for tensor in tensors:
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        if not tensor.is_contiguous() or not tensor.data_ptr():
            total += tensor.numel()
            continue
        storage = (str(tensor.device), tensor.untyped_storage().data_ptr())
        start = tensor.storage_offset() * tensor.element_size()
        end = start + tensor.numel() * tensor.element_size()
        new = _uncovered(start, end, spans.setdefault(storage, []))
        spans[storage].append((start, end))
        total += new // tensor.element_size()
    return total


def _uncovered(start: int, end: int, spans: list[tuple[int, int]]) -> int:
    """Bytes of [start, end) that no earlier span covers."""
    covered, reach = 0, start
    for low, high in sorted(spans):
        low, high = max(low, reach), min(high, end)
        if high > low:
            covered += high - low
            reach = high
    return end - start - covered
