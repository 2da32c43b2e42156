"""Parameter counts by unique elements; disk size as a real file has it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.models as zoo
from torch import nn

from benchmarks.meters.parameters import (
    disk_size,
    multiplying_weights,
    parameters,
    weight_bytes,
)
from tasks.errors import UserError


def test_resnet50_figure() -> None:
    assert parameters(zoo.resnet50()) == (25_557_032, 25_557_032)


def test_shared_and_frozen_parameters() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    assert parameters(model).stored == 4 * 4 + 4
    model[0].bias.requires_grad_(False)
    assert parameters(model).trainable == 4 * 4


def test_views_of_one_tensor_count_once() -> None:
    bank = torch.randn(6, 4)
    model = nn.Module()
    model.first = nn.Parameter(bank[:4])
    model.second = nn.Parameter(bank[2:])
    assert parameters(model).stored == 6 * 4


def holder(*tensors: torch.Tensor) -> nn.Module:
    model = nn.Module()
    for number, tensor in enumerate(tensors):
        model.register_parameter(f"p{number}", nn.Parameter(tensor))
    return model


def strided(random: np.random.Generator) -> list[torch.Tensor]:
    """Some views of one tensor, by any strides and offsets."""
    base = torch.zeros(int(random.integers(40, 200)))
    views = []
    while len(views) < 4:
        sides = random.integers(1, 5, random.integers(1, 4)).tolist()
        strides = random.integers(0, 12, len(sides)).tolist()
        reach = sum((side - 1) * stride for side, stride in zip(sides, strides, strict=True))
        if reach < len(base):
            offset = int(random.integers(0, len(base) - reach))
            views.append(base.as_strided(sides, strides, offset))
    return views


@pytest.mark.parametrize("seed", range(40))
def test_elements_of_any_views_count_once(seed: int) -> None:
    views = strided(np.random.default_rng(seed))
    # An element's address, found out by asking each one.
    addresses = {view[place].data_ptr() for view in views for place in np.ndindex(*view.shape)}
    model = holder(*views)
    assert parameters(model).stored == len(addresses)
    assert weight_bytes(model).stored == 4 * len(addresses)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_ties_count_once_however_they_look_at_it(device: str) -> None:
    w = torch.zeros(4, 6, device=device)
    c = torch.zeros(4, 3, 2, 2, device=device).to(memory_format=torch.channels_last)
    for tensors, stored in (
        ((w, w.t()), 24),
        ((w.t(), w), 24),
        ((w, w[:, :3]), 24),
        ((w[:, :4], w[:, 2:]), 24),
        ((c, c.permute(1, 0, 3, 2)), 48),
        ((torch.zeros(1, 6, device=device).expand(4, 6), torch.zeros(2, device=device)), 8),
    ):
        assert parameters(holder(*tensors)).stored == stored


def test_views_of_other_types_share_bytes() -> None:
    base = torch.zeros(8)
    model = holder(base, base.view(torch.int32)[:4].view(torch.float16))
    assert parameters(model).stored == 8
    assert weight_bytes(model) == (32, 32)


@pytest.mark.parametrize("turned", [False, True])
def test_bytes_seen_as_several_types_are_elements_of_the_widest(turned: bool) -> None:
    numbers = torch.zeros(4, dtype=torch.complex64)
    floats = torch.zeros(8)
    for tensors, stored in (
        ((numbers, torch.view_as_real(numbers)), 4),
        ((numbers, numbers.conj(), numbers.imag), 4),
        ((numbers.real, numbers.imag), 8),
        ((numbers.conj().imag,), 4),
        ((floats, floats.view(torch.bfloat16)), 8),
        ((floats, floats.view(torch.complex64)), 4),
    ):
        model = holder(*(reversed(tensors) if turned else tensors))
        assert parameters(model).stored == stored
        assert weight_bytes(model).stored == (32 if stored * len(tensors) > 4 else 16)


def test_storages_that_overlap_share_their_elements() -> None:
    """Every ``from_numpy`` has a storage of its own, around the same memory."""
    array = np.zeros(10, np.float32)
    for parts, stored in (
        ((array, array), 10),
        ((array[2:], array[:5]), 10),
        ((array[:3], array[6:]), 7),
        ((array[::2], array), 10),
        ((array[::2], array[4:6]), 6),
        ((array.reshape(2, 5).T, array[3:4]), 10),
    ):
        model = holder(*map(torch.from_numpy, parts))
        assert parameters(model).stored == stored
        assert weight_bytes(model).stored == 4 * stored
    apart = holder(torch.zeros(3), torch.zeros(3), torch.zeros(3, device="meta"))
    assert parameters(apart).stored == 9


def test_a_sparse_parameter_stores_its_values() -> None:
    eye = torch.eye(4)
    for sparse, indices in ((eye.to_sparse(), 2 * 4), (eye.to_sparse_csr(), 5 + 4)):
        assert parameters(holder(sparse)).stored == 4
        assert weight_bytes(holder(sparse)).stored == 4 * 4 + 8 * indices


def test_a_weight_that_hides_its_memory_is_refused() -> None:
    with pytest.raises(UserError, match=r"_mkldnn hides its memory"):
        parameters(holder(torch.zeros(4, 4).to_mkldnn()))


@pytest.mark.parametrize("measure", [parameters, weight_bytes, disk_size, multiplying_weights])
def test_parameters_without_a_shape_are_named(measure: Callable[[nn.Module], object]) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LazyLinear(2))
    with pytest.raises(UserError, match=r"'1.weight' of a lazy module has no shape yet: run the"):
        measure(model)
    model(torch.zeros(1, 3))
    assert parameters(model).stored == 3 * 4 + 4 + 4 * 2 + 2
    measure(model)


def test_weights_in_buffers_and_packed_ones_have_bytes() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    weights = 4 * (3 * 4 * 9 + 4 + 2 * 4 + 16 * 2 + 2)
    assert weight_bytes(plain) == (weights, weights)  # running statistics are no weights
    assert weight_bytes(plain).outside == 0

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("q", torch.zeros(4, 16, dtype=torch.int8))
            self.register_buffer("scale", torch.zeros(4))
            self.register_buffer("index", torch.zeros(9, dtype=torch.int64))
            self.register_buffer("mask", torch.zeros(9, dtype=torch.bool))
            self.register_buffer("cache", torch.zeros(9), persistent=False)

    assert parameters(Packed()).stored == 0
    assert weight_bytes(Packed()) == (64 + 16, 0)
    tied = Packed()
    tied.weight = nn.Parameter(tied.scale)
    assert weight_bytes(tied) == (64 + 16, 16)


def test_quantised_layers_have_bytes() -> None:
    linear = torch.ao.nn.quantized.Linear(16, 2)
    weight = torch.quantize_per_tensor(torch.zeros(2, 16), 1.0, 0, torch.qint8)
    linear.set_weight_bias(weight, torch.zeros(2))
    assert parameters(linear).stored == 0
    output = 4  # its scale; the zero point is an int64
    assert weight_bytes(linear) == (2 * 16 + 2 * 4 + output, 0)

    channels = nn.Module()
    scales, zeros = torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.int64)
    weight = torch.quantize_per_channel(torch.zeros(2, 16), scales, zeros, 0, torch.qint8)
    channels.register_buffer("weight", weight)
    assert weight_bytes(channels).stored == 2 * 16 + 2 * 8 + 2 * 8


def test_packed_objects_are_opened() -> None:
    class Functional(nn.Module):
        """As lowered graphs keep theirs."""

        def __init__(self) -> None:
            super().__init__()
            weight = torch.quantize_per_tensor(torch.zeros(2, 16), 1.0, 0, torch.qint8)
            self._packed_weight_0 = torch.ops.quantized.linear_prepack(weight, torch.zeros(2))

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            super()._save_to_state_dict(destination, prefix, keep_vars)
            destination[prefix + "_packed_weight_0"] = self._packed_weight_0

    assert weight_bytes(Functional()).stored == 2 * 16 + 2 * 4


def test_a_parameter_around_other_tensors_has_the_bytes_of_those() -> None:
    class Int8(torch.Tensor):
        """As torchao's: a float tensor to look at, int8 and a scale inside."""

        @staticmethod
        def __new__(cls, q, scale):
            return torch.Tensor._make_wrapper_subclass(cls, q.shape, dtype=torch.float32)

        def __init__(self, q, scale):
            self.q, self.scale = q, scale

        def __tensor_flatten__(self):
            return ["q", "scale"], None

        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            assert func is torch.ops.aten.detach.default
            return cls(args[0].q, args[0].scale)

    model = nn.Module()
    inner = Int8(torch.zeros(4, 16, dtype=torch.int8), torch.zeros(4))
    model.weight = nn.Parameter(inner, requires_grad=False)
    assert parameters(model).stored == 64
    assert weight_bytes(model) == (64 + 16, 64 + 16)
    model.tied = nn.Parameter(Int8(inner.q, inner.scale), requires_grad=False)
    assert parameters(model).stored == 64
    assert weight_bytes(model) == (64 + 16, 64 + 16)


def test_meta_tensors_are_counted_by_shape() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    assert parameters(model).stored == 3 * 5 + 5 + 5 * 2 + 2


def test_disk_size_is_the_file_size(tmp_path: Path) -> None:
    model = zoo.resnet18(num_classes=10)
    file = tmp_path / "weights.pth"
    torch.save(model.state_dict(), file)
    assert (
        disk_size(model) == file.stat().st_size
        or abs(disk_size(model) - file.stat().st_size) < 1024
    )  # the archive's inner folder carries the file's name
    assert disk_size(model) > 4 * parameters(model).stored
