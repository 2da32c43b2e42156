"""Fusion and projection of weight tensors, against sums written out by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from methods.replacement.fusion import ChannelProjection, Mix


def set_(mix: Mix, a: list[float] | float, b: list[float] | float) -> Mix:
    with torch.no_grad():
        mix.a.copy_(torch.tensor(a))
        mix.b.copy_(torch.tensor(b))
    return mix


def test_a_vector_scales_output_channels_of_each_neighbour():
    before = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    after = torch.tensor([[10.0, 20.0], [30.0, 40.0]])
    mix = set_(Mix(channels=2), [1.0, 0.0], [0.5, 2.0])
    assert torch.equal(mix(before, after), torch.tensor([[6.0, 12.0], [60.0, 80.0]]))


def test_a_vector_can_run_along_heads():
    table = torch.arange(6.0).view(3, 2)
    mix = set_(Mix(channels=2), [1.0, 0.0], [0.0, 10.0])
    expected = torch.tensor([[0.0, 10.0], [2.0, 30.0], [4.0, 50.0]])
    assert torch.equal(mix(table, table, dim=1), expected)


def test_both_start_at_init_and_one_alone_at_twice_that():
    ones = torch.ones(3, 2)
    assert torch.equal(Mix(channels=3)(2 * ones, 4 * ones), 3 * ones)
    alone = Mix(before=False, channels=None, init=0.5)
    assert alone.a is None
    assert torch.equal(alone(None, 4 * ones), 4 * ones)


def test_frozen_coefficients_spread_over_zero_to_twice_the_start():
    torch.manual_seed(0)
    mix = Mix(channels=4000, frozen=True)
    for values in (mix.a, mix.b):
        assert not values.requires_grad
        assert 0 <= values.min() < 0.01
        assert 0.99 < values.max() <= 1
        assert values.mean().item() == pytest.approx(0.5, abs=0.02)
    assert not torch.equal(mix.a, mix.b)


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 2, 2)])
def test_fusion_passes_gradcheck(channels: int | None, shape: tuple[int, ...]):
    torch.manual_seed(0)
    mix = Mix(channels=channels).double()
    before, after = (torch.randn(shape, dtype=torch.double, requires_grad=True) for _ in "ab")

    def fuse(a, b, w, v):
        return torch.func.functional_call(mix, {"a": a, "b": b}, (w, v))

    a, b = (torch.randn_like(p).requires_grad_() for p in (mix.a, mix.b))
    assert torch.autograd.gradcheck(fuse, (a, b, before, after))


@settings(deadline=None, max_examples=30)
@given(
    out=st.integers(1, 4), into=st.integers(1, 4), wide=st.integers(1, 4), deep=st.integers(1, 4)
)
def test_projection_is_the_matrix_product_on_both_sides(out: int, into: int, wide: int, deep: int):
    projection = ChannelProjection((out, into, 3, 3), (wide, deep, 3, 3))
    for parameter in projection.parameters():
        nn.init.normal_(parameter)
    weight = torch.randn(out, into, 3, 3)
    left = torch.eye(out) if projection.out is None else projection.out[0]
    right = torch.eye(into) if projection.into is None else projection.into
    expected = torch.empty(wide, deep, 3, 3)
    for row in range(3):
        for column in range(3):
            expected[:, :, row, column] = left @ weight[:, :, row, column] @ right
    torch.testing.assert_close(projection(weight), expected)


def test_projection_starts_as_identity_and_owns_only_what_differs():
    projection = ChannelProjection((2, 3), (4, 3))
    assert projection.into is None
    assert sum(p.numel() for p in projection.parameters()) == 2 * 4
    weight = torch.randn(2, 3)
    assert torch.equal(projection(weight), torch.cat([weight, torch.zeros(2, 3)]))
    assert torch.equal(projection(weight[:, 0]), torch.cat([weight[:, 0], torch.zeros(2)]))


def test_query_key_and_value_are_projected_apart():
    projection = ChannelProjection((6, 2), (9, 3), parts=3)
    q, k, v = torch.randn(2, 2), torch.randn(2, 2), torch.randn(2, 2)
    wide = projection(torch.cat([q, k, v])).view(3, 3, 3)
    for part, narrow in zip(wide, (q, k, v), strict=True):
        assert torch.equal(part[:2, :2], narrow)
        assert part[2].abs().sum() == 0
        assert part[:, 2].abs().sum() == 0
