"""How much of the memory under some tensors is theirs, each byte once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from math import gcd

import torch

from tasks.errors import UserError

_INDICES = {
    torch.sparse_coo: ("_indices",),
    torch.sparse_csr: ("crow_indices", "col_indices"),
    torch.sparse_bsr: ("crow_indices", "col_indices"),
    torch.sparse_csc: ("ccol_indices", "row_indices"),
    torch.sparse_bsc: ("ccol_indices", "row_indices"),
}
"""The methods that give what a sparse tensor holds beside its values."""


def unique_elements(tensors: Iterable[torch.Tensor]) -> int:
    """Stored elements of tensors that may share memory.

    Bytes that are seen as several types are elements of the widest, so that a complex tensor and
    a real view of it count as many, whichever comes first. Of a sparse tensor the values count.

    Raises:
        UserError: as :func:`parts`.
    """
    held = (part for each in tensors for part in _values(each))
    return sum(new // size for new, size in _new_bytes(held))


def unique_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Stored bytes of tensors that may share memory, scales of quantised ones included.

    Raises:
        UserError: as :func:`parts`.
    """
    return sum(new for new, _ in _new_bytes(part for each in tensors for part in parts(each)))


def parts(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensors that hold a tensor's data: those inside a wrapper, and a quantiser's scales.

    Raises:
        UserError: the tensor hides its memory, as oneDNN's do.
    """
    if hasattr(tensor, "__tensor_flatten__"):
        for name in tensor.__tensor_flatten__()[0]:
            yield from parts(getattr(tensor, name))
        return
    yield from _values(tensor)
    if tensor.layout in _INDICES:
        for name in _INDICES[tensor.layout]:
            yield getattr(tensor, name)()
    if tensor.is_quantized and tensor.qscheme() in (
        torch.per_channel_affine,
        torch.per_channel_affine_float_qparams,
    ):
        yield tensor.q_per_channel_scales()
        yield tensor.q_per_channel_zero_points()


def _values(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensor of its elements; a wrapper is one itself, whatever is inside."""
    if hasattr(tensor, "__tensor_flatten__"):
        yield tensor
    elif tensor.layout == torch.sparse_coo:
        yield tensor._values()
    elif tensor.layout in _INDICES or tensor.is_nested:
        yield tensor.detach().values()
    elif tensor.layout == torch.strided:
        yield tensor
    else:
        raise UserError(
            f"a weight of layout {tensor.layout} hides its memory: store it by to_dense()"
        )


def _new_bytes(tensors: Iterable[torch.Tensor]) -> Iterator[tuple[int, int]]:
    """For each tensor the bytes that no other one has, and the size of its elements.

    Shared bytes belong to the tensor of the widest elements, and of such to the first.
    """
    seen: dict[Hashable, torch.Tensor] = {}  # holds them, so that no id is given away again
    plain: list[torch.Tensor] = []
    for tensor in tensors:
        is_wrapper = hasattr(tensor, "__tensor_flatten__")
        key = _identity(tensor) if is_wrapper else id(tensor)
        if key in seen:
            continue
        seen[key] = tensor
        if is_wrapper:
            yield tensor.numel() * tensor.element_size(), tensor.element_size()
        elif tensor.numel():
            plain.append(tensor)
    for found, extent in _memories(plain):
        found.sort(key=lambda pair: -pair[0].element_size())
        views, starts = [view for view, _ in found], [start for _, start in found]
        new = _by_span(views, starts) or _by_mark(views, starts, extent)
        yield from zip(new, [view.element_size() for view in views], strict=True)


def _identity(wrapper: torch.Tensor) -> Hashable:
    """Equal for two wrappers around the same memory, as ``detach`` makes them."""
    inside = tuple(
        (p.untyped_storage()._cdata, p.storage_offset(), p.stride()) for p in parts(wrapper)
    )
    return tuple(wrapper.shape), inside


def _memories(
    tensors: Iterable[torch.Tensor],
) -> Iterator[tuple[list[tuple[torch.Tensor, int]], int]]:
    """Views of the same memory with the byte that each starts at, and how many bytes there are.

    Storages may overlap as well: each ``torch.from_numpy`` of an array makes one of its own.
    """
    by_place: dict[tuple[str, int, int], list[torch.Tensor]] = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        address = storage.data_ptr() if tensor.device.type != "meta" else 0
        place = (str(tensor.device), address, 0 if address else storage._cdata)
        by_place.setdefault(place, []).append(tensor)
    views: list[tuple[torch.Tensor, int]] = []
    device, begin, end = "", 0, 0
    for place in sorted(by_place):
        found = by_place[place]
        if views and (place[0] != device or not place[1] or place[1] >= end):
            yield views, end - begin
            views = []
        if not views:
            device, begin, end = place[0], place[1], place[1]
        shift = place[1] - begin
        views += [(v, shift + v.storage_offset() * v.element_size()) for v in found]
        end = max(end, place[1] + max(v.untyped_storage().nbytes() for v in found))
    if views:
        yield views, end - begin


def _by_span(views: list[torch.Tensor], starts: list[int]) -> list[int] | None:
    """New bytes of views that are blocks without gaps; None where one of them is not."""
    if not all(_is_block(view) for view in views):
        return None
    new = []
    spans: list[tuple[int, int]] = []
    for view, start in zip(views, starts, strict=True):
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


def _by_mark(views: list[torch.Tensor], starts: list[int], extent: int) -> list[int]:
    """New bytes of any views of one memory, by marking what each of them covers."""
    unit = gcd(extent, *(view.element_size() for view in views), *starts)
    marks = torch.zeros(extent // unit, dtype=torch.bool)
    new = []
    before = 0
    for view, start in zip(views, starts, strict=True):
        each = view.element_size() // unit
        # A dimension of stride 0 shows the same elements again.
        shape = zip(view.shape, view.stride(), strict=True)
        sides = [side if stride else 1 for side, stride in shape]
        strides = [stride * each for stride in view.stride()]
        offset = start // unit
        for shift in range(each):
            marks.as_strided(sides, strides, offset + shift).fill_(True)
        after = int(marks.count_nonzero())
        new.append((after - before) * unit)
        before = after
    return new
