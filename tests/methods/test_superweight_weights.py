"""How a layer's weight is composed: the chain of shapes, the mix of templates, the gradient."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from methods.superweight.banks import (
    BlockBank,
    Composition,
    chain,
    make_bank,
    plan_banks,
    sorted_shapes,
)

SMALL, LARGE = (1, 1, 1, 1), (2, 3, 1, 1)


def composition(shapes, budget, layer, *, init="layer_kaiming", shared=False):
    """The composed weight of one layer of a single member, all layers in one cluster."""
    (bank_plan,) = plan_banks([shapes], [[0] * len(shapes)], budget)
    users = {(0, number): shape for number, shape in enumerate(shapes)}
    parts = []
    for block in bank_plan:
        bank = make_bank(block, users, shared, init)
        if (0, layer) in block.users:
            parts.append((block, bank, block.users.index((0, layer))))
    return Composition(parts)


def test_larger_shape_is_the_smaller_one_then_an_input_slab_then_an_output_slab():
    made = composition([SMALL, LARGE], 6, layer=1)
    core, rest = made.banks
    with torch.no_grad():
        core.templates.copy_(torch.tensor([[10.0]]))
        rest.templates.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]]))
        for bank in made.banks:
            bank.coefficients.fill_(1.0)
    # 10 is the small weight; 1 2 its new input channels; 3 4 5 the new output channel.
    assert made.compose().squeeze().tolist() == [[10, 1, 2], [3, 4, 5]]
    assert composition([SMALL, LARGE], 6, layer=0).compose().shape == SMALL


def test_value_is_the_sum_of_templates_by_coefficients():
    bank = BlockBank(size=3, templates=2, uses=2)
    with torch.no_grad():
        bank.templates.copy_(torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]))
        bank.coefficients.copy_(torch.tensor([[2.0, 0.5], [0.0, 1.0]]))
    assert bank.value(0).tolist() == [7, 14, 21]
    assert bank.value(1).tolist() == [10, 20, 30]
    bank.rows[1] = 0
    assert bank.value(1).tolist() == [7, 14, 21]


def test_surplus_channels_are_cropped_where_shapes_do_not_nest():
    wide, square = (4, 1, 1, 1), (3, 3, 1, 1)
    first, second = chain([square, wide])
    weight = first.apply(None, torch.arange(4.0))
    made = second.apply(weight, torch.arange(10.0, 16.0))
    assert second.kept == (3, 1)
    assert made.squeeze().tolist() == [[0, 10, 11], [1, 12, 13], [2, 14, 15]]


shapes = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3), st.just(3)), min_size=1, max_size=6
)


@given(shapes=shapes)
def test_every_layer_gets_its_own_shape_and_each_block_is_used_whole(shapes):
    weight = None
    for number, (block, shape) in enumerate(zip(chain(shapes), sorted_shapes(shapes), strict=True)):
        values = torch.arange(block.size, dtype=torch.float64) + 1000 * (number + 1)
        weight = block.apply(weight, values)
        assert weight.shape == shape
        assert set(values.tolist()) <= set(weight.flatten().tolist())


@given(widths=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_nested_shapes_need_no_more_than_the_largest(widths):
    shapes = [(width, width, 3, 3) for width in widths]
    assert sum(block.size for block in chain(shapes)) == 9 * max(widths) ** 2


def test_gradient_of_a_composed_weight():
    torch.manual_seed(0)
    made = composition([(2, 1, 3, 3), (2, 3, 3, 3), (3, 3, 3, 3)], 200, layer=2)
    leaves = [t for bank in made.banks for t in (bank.templates, bank.coefficients)]
    for bank in made.banks:
        bank.double()
    assert min(bank.templates.shape[0] for bank in made.banks) > 1

    def weight(*_):
        return made.compose()

    leaves = [t for bank in made.banks for t in (bank.templates, bank.coefficients)]
    assert torch.autograd.gradcheck(weight, leaves)


def test_layer_kaiming_gives_every_layer_its_own_deviation():
    torch.manual_seed(0)
    shapes = [(64, 16, 3, 3), (64, 64, 3, 3)]
    for layer, shape in enumerate(shapes):
        weight = composition(shapes, 10**6, layer).compose()
        assert weight.std().item() == pytest.approx(math.sqrt(2 / math.prod(shape[1:])), rel=0.05)


def test_official_init_is_far_larger():
    torch.manual_seed(0)
    weight = composition([(64, 64, 3, 3)], 10**6, 0, init="official").compose()
    assert weight.std().item() == pytest.approx(math.sqrt(2 / 9), rel=0.05)


def test_coefficients_start_as_orthogonal_rows():
    made = composition([(8, 8, 3, 3)] * 4, 10**6, 0)
    rows = made.banks[0].coefficients.detach()
    assert rows.shape == (4, 8)
    torch.testing.assert_close(rows @ rows.T, torch.eye(4), atol=1e-5, rtol=0)


def test_shared_coefficients_make_equal_layers_equal():
    torch.manual_seed(0)
    made = composition([(8, 8, 3, 3)] * 2, 10**6, 0, shared=True)
    (bank,) = made.banks
    assert torch.equal(bank.value(0), bank.value(1))


def test_weight_is_made_once_in_evaluation_and_again_when_a_template_changes():
    made = composition([(2, 2, 3, 3)], 100, 0)
    with torch.no_grad():
        first = made.tensor(training=False)
        assert made.tensor(training=False) is first
        made.banks[0].templates.mul_(2)
        torch.testing.assert_close(made.tensor(training=False), 2 * first)
        made.banks[0].coefficients.zero_()
        assert not made.tensor(training=False).any()
    assert made.tensor(training=True).requires_grad


def test_layers_that_share_coefficients_have_kaimings_deviation_in_the_mean():
    torch.manual_seed(0)
    shapes = [(64, 16, 3, 3), (64, 64, 3, 3), (64, 32, 3, 3)]
    places = {(0, layer): shape for layer, shape in enumerate(shapes)}
    plan = plan_banks([shapes], ((0, 0, 0),), 10**6)
    for block in itertools.chain.from_iterable(plan):
        bank = make_bank(block, places, shared=True, init="layer_kaiming")
        found = [float(bank.value(use).var()) for use in range(len(block.users))]
        kaiming = [2 / math.prod(places[user][1:]) for user in block.users]
        assert sum(found) == pytest.approx(sum(kaiming), rel=0.1)
