"""Which blocks are chosen: the positions that the papers' networks have, and properties."""

from __future__ import annotations

import itertools
import re
from functools import partial

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn

from methods.blocks import (
    BlockView,
    Parts,
    block_view,
    build_view,
    has_matching_neighbours,
    select_blocks,
)
from tasks.classification.models.zoo import build_backbone
from tasks.errors import UserError


def view_of(name: str) -> BlockView:
    with torch.device("meta"):
        return block_view(build_backbone(name, 10, 3, 224))


def numbers(view: BlockView, boundary: str, **options) -> list[int]:
    fits = partial(has_matching_neighbours, view)
    return [block.number for block in select_blocks(view, fits=fits, boundary=boundary, **options)]


CIFAR_110 = [4, 8, 12, 16, 24, 28, 32, 40, 44, 48, 52]  # all but 20 (after 19) and 36 (a last)


@pytest.mark.parametrize(
    ("name", "clean", "shifted"),
    [
        ("resnet18", [], []),
        ("resnet34", [12], [6, 10, 12]),
        ("resnet50", [12], [6, 10, 12]),
        ("resnet101", [12, 16, 20, 24, 28], [6, 10, 12, 16, 20, 24, 28]),
        ("vit_b_16", [4, 8], [4, 8, 11]),
        ("cifar_resnet110", CIFAR_110, sorted([*CIFAR_110, 21, 35])),
        ("mobilenet_v2", [], [9]),
        ("swin_t", [8], [8]),
    ],
)
def test_every_fourth_block_lands_on_the_positions_counted_by_hand(name, clean, shifted):
    view = view_of(name)
    assert numbers(view, "keep") == clean
    assert numbers(view, "shift") == shifted


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "cifar_resnet56"])
def test_a_position_is_clean_where_the_state_dict_shows_three_equal_sets_of_shapes(name):
    view = view_of(name)
    shapes: dict[tuple[str, int], dict[str, torch.Size]] = {}
    for key, value in view.backbone.state_dict().items():
        found = re.fullmatch(r"(layer\d)\.(\d+)\.(conv\d\.weight)", key)
        if found:
            shapes.setdefault((found[1], int(found[2])), {})[found[3]] = value.shape
    for number, ((stage, place), own) in enumerate(shapes.items(), start=1):
        around = [shapes.get((stage, place - 1)), shapes.get((stage, place + 1))]
        expected = around == [own, own]
        assert has_matching_neighbours(view, view.block(number)) == expected


def test_only_the_roles_asked_for_are_compared():
    view = view_of("resnet50")
    # The first block of the stage reduces 64 channels, the others 256.
    second = view.block(2)
    assert not has_matching_neighbours(view, second)
    assert not has_matching_neighbours(view, second, roles=["conv1"])
    assert has_matching_neighbours(view, second, roles=["conv2", "conv3"])


def test_explicit_numbers_take_the_place_of_every():
    view = view_of("resnet101")
    assert numbers(view, "shift", blocks=[20, 10]) == [10, 20]
    assert numbers(view, "keep", blocks=[8, 20]) == [20]


def test_of_two_adjacent_wishes_the_higher_moves_to_the_nearest_free_place():
    # 6 is next to 5; 7 is one block away, 3 three.
    assert numbers(view_of("vit_b_16"), "shift", blocks=[5, 6]) == [5, 7]
    # 4 is next to 3 and to 5; 1 is no clean position, which leaves 7.
    assert numbers(view_of("vit_b_16"), "shift", blocks=[3, 4, 5]) == [3, 5, 7]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "a whole number of at least 1, not 0"),
        ({"every": 2.5}, r"a whole number of at least 1, not 2\.5"),
        ({"blocks": [99]}, "no block 99"),
        ({"blocks": [0]}, "no block 0"),
        ({"boundary": "shfit"}, "did you mean 'shift'"),
    ],
)
def test_impossible_wishes_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        select_blocks(view_of("resnet34"), **options)


def test_a_block_without_a_place_is_logged(caplog):
    numbers(view_of("resnet34"), "shift")
    assert "block 16 left out: its stage has no free place that fits" in caplog.text


class Bead(nn.Module):
    def block_parts(self) -> Parts:
        return Parts("bead", 1, 1, 1, (), {}, ())


def beads(sizes: list[int]) -> BlockView:
    stages = [nn.ModuleList(Bead() for _ in range(size)) for size in sizes]
    places = [[(stage, str(i)) for i in range(len(stage))] for stage in stages]
    return build_view(nn.ModuleList(stages), places, lambda module: None)


wishes = st.lists(st.integers(1, 8), min_size=1, max_size=4).flatmap(
    lambda sizes: st.tuples(
        st.just(sizes),
        st.sets(st.integers(1, sum(sizes)), min_size=1),
        st.sets(st.integers(1, sum(sizes))),
    )
)


@given(wishes, st.sampled_from(["shift", "keep"]))
def test_a_choice_fits_is_never_adjacent_and_stays_in_its_stages(wish, boundary):
    sizes, wanted, fitting = wish
    view = beads(sizes)
    chosen = select_blocks(
        view, blocks=list(wanted), fits=lambda b: b.number in fitting, boundary=boundary
    )
    got = [block.number for block in chosen]
    assert set(got) <= fitting
    assert all(after - before > 1 for before, after in itertools.pairwise(got))
    for stage in view.stages:
        members = {block.number for block in stage}
        placed, asked = len(members & set(got)), len(members & wanted)
        assert placed <= asked
        taken = {n + d for n in got for d in (-1, 0, 1)}
        if boundary == "shift" and placed < asked:
            assert members & fitting <= taken
    if boundary == "keep":
        assert set(got) <= wanted


@given(wishes)
def test_a_wanted_block_that_fits_stays_unless_its_lower_neighbour_is_taken(wish):
    sizes, wanted, fitting = wish
    chosen = select_blocks(
        beads(sizes), blocks=list(wanted), fits=lambda block: block.number in fitting
    )
    got = {block.number for block in chosen}
    for number in wanted & fitting:
        assert number in got or number - 1 in got


@given(st.integers(1, 12), st.integers(1, 12), st.sets(st.integers(1, 12)))
@example(3, 2, {1, 3})  # a tie
def test_a_lone_block_moves_to_the_nearest_place(size, wanted, fitting):
    wanted = min(wanted, size)
    places = [number for number in range(1, size + 1) if number in fitting]
    chosen = select_blocks(
        beads([size]), blocks=[wanted], fits=lambda block: block.number in fitting
    )
    nearest = min(places, key=lambda n: (abs(n - wanted), n), default=None)
    assert [block.number for block in chosen] == ([] if nearest is None else [nearest])
