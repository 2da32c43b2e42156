"""How much of the memory under some tensors is theirs, each byte once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import gcd

import torch


def unique_elements(tensors: Iterable[torch.Tensor]) -> int:
    """Stored elements of tensors that may share memory; a byte belongs to the first that has it."""
    return sum(new // size for new, size in _new_bytes(tensors))


def unique_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Stored bytes of tensors that may share memory, scales of quantised ones included."""
    return sum(new for new, _ in _new_bytes(part for each in tensors for part in parts(each)))


def parts(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensors that hold a tensor's data: those inside a wrapper, and a quantiser's scales."""
    names = tensor.__tensor_flatten__()[0] if hasattr(tensor, "__tensor_flatten__") else None
    if names is not None:
        for name in names:
            yield from parts(getattr(tensor, name))
        return
    yield tensor
    if tensor.is_quantized and tensor.qscheme() in (
        torch.per_channel_affine,
        torch.per_channel_affine_float_qparams,
    ):
        yield tensor.q_per_channel_scales()
        yield tensor.q_per_channel_zero_points()


def _new_bytes(tensors: Iterable[torch.Tensor]) -> Iterator[tuple[int, int]]:
    """For each tensor the bytes that no earlier one has, and the size of its elements."""
    seen: dict[int, torch.Tensor] = {}  # holds them, so that no id is given away again
    storages: dict[int, list[torch.Tensor]] = {}
    for tensor in tensors:
        if id(tensor) in seen:
            continue
        seen[id(tensor)] = tensor
        if _is_wrapper(tensor):
            yield tensor.numel() * tensor.element_size(), tensor.element_size()
        elif tensor.numel():
            storages.setdefault(tensor.untyped_storage()._cdata, []).append(tensor)
    for views in storages.values():
        sizes = [view.element_size() for view in views]
        yield from zip(_by_span(views) or _by_mark(views), sizes, strict=True)


def _is_wrapper(tensor: torch.Tensor) -> bool:
    """Whether it is no memory of its own, but a class around other tensors."""
    return hasattr(tensor, "__tensor_flatten__") or tensor.layout != torch.strided


def _by_span(views: list[torch.Tensor]) -> list[int] | None:
    """New bytes of views that are blocks without gaps; None where one of them is not."""
    if not all(_is_block(view) for view in views):
        return None
    new = []
    spans: list[tuple[int, int]] = []
    for view in views:
        start = view.storage_offset() * view.element_size()
        end = start + view.numel() * view.element_size()
        new.append(_uncovered(start, end, spans))
        spans.append((start, end))
    return new


def _is_block(view: torch.Tensor) -> bool:
    """Whether its elements lie side by side, each once, in any order of the dimensions."""
    expected = 1
    for stride, side in sorted(zip(view.stride(), view.shape, strict=True)):
        if side != 1 and stride != expected:
            return False
        expected *= side
    return True


def _uncovered(start: int, end: int, spans: list[tuple[int, int]]) -> int:
    """Bytes of [start, end) that no span covers."""
    covered, reach = 0, start
    for low, high in sorted(spans):
        low, high = max(low, reach), min(high, end)
        if high > low:
            covered += high - low
            reach = high
    return end - start - covered


def _by_mark(views: list[torch.Tensor]) -> list[int]:
    """New bytes of any views of one storage, by marking what each of them covers."""
    unit = gcd(*(view.element_size() for view in views))
    marks = torch.zeros(views[0].untyped_storage().nbytes() // unit, dtype=torch.bool)
    new = []
    before = 0
    for view in views:
        each = view.element_size() // unit
        # A dimension of stride 0 shows the same elements again.
        shape = zip(view.shape, view.stride(), strict=True)
        sides = [side if stride else 1 for side, stride in shape]
        strides = [stride * each for stride in view.stride()]
        offset = view.storage_offset() * each
        for shift in range(each):
            marks.as_strided(sides, strides, offset + shift).fill_(True)
        after = int(marks.count_nonzero())
        new.append((after - before) * unit)
        before = after
    return new
