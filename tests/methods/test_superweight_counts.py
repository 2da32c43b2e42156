"""Budgets and parameter counts against the figures of the paper, from shapes alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from superweight_helpers import digits, wrn_shapes

from methods.superweight import SuperWeight
from methods.superweight.banks import (
    MOST_TEMPLATES,
    allocate,
    depth_bins,
    minimum,
    per_layer,
    plan_banks,
)
from tasks.classification.models.zoo import build_backbone
from tasks.errors import UserError

HO = [wrn_shapes(28, 10)] * 4
HE = [wrn_shapes(34, 8), wrn_shapes(28, 12), wrn_shapes(28, 10), wrn_shapes(28, 8)]
MULTI_DEPTH_WIDTH = [
    wrn_shapes(28, 7),
    wrn_shapes(28, 4),
    wrn_shapes(16, 7),
    wrn_shapes(16, 4),
]


def total(shapes, assignment, budget):
    return sum(
        block.parameters for bank in plan_banks(shapes, assignment, budget) for block in bank
    )


@pytest.mark.parametrize(
    ("members", "bins", "budget", "expected"),
    [
        (HO, 4, 36.5e6, 36_480_432),
        (HO, 4, 15e6, 14_999_904),
        (HO, 3, 7e6, 6_992_656),
        (HE, 4, 36.5e6, 36_499_888),
        (MULTI_DEPTH_WIDTH, 4, 18e6, 17_997_568),
        (HO, 4, 120e6, 69_836_800),
    ],
    ids=["HO-36.5M", "HO-15M", "HO-7M", "HE-36.5M", "multi-depth-width-18M", "HO-120M-capped"],
)
def test_depth_binned_banks_of_the_paper(members, bins, budget, expected):
    assert total(members, depth_bins(members, bins), int(budget)) == expected


def test_120M_is_reached_with_a_cluster_for_each_layer():
    assert total(HO, per_layer(HO), 120_000_000) == 119_993_216


def test_7M_in_4_bins_is_an_error_that_names_minimum_and_bins():
    with pytest.raises(UserError, match=r"minimum of 8,729,600 .* bins: 3 would fit"):
        plan_banks(HO, depth_bins(HO, 4), 7_000_000)


def test_a_budget_below_a_single_bin_says_so():
    least = minimum(HO, depth_bins(HO, 1))
    with pytest.raises(UserError, match=f"even a single bin needs {least:,}"):
        plan_banks(HO, depth_bins(HO, 4), least - 1)


def test_the_minimum_itself_is_enough():
    assert total(HO, depth_bins(HO, 4), 8_729_600) == 8_729_600


def test_whole_homogeneous_ensemble_has_norms_and_classifiers_on_top(monkeypatch):
    task = digits("wrn_28_10")
    monkeypatch.setattr(type(task._data), "classes", 100)
    monkeypatch.setattr(type(task._data), "channels", 3)
    method = SuperWeight(max_params=36.5e6)
    method.setup(task)
    with torch.device("meta"):
        model = method.prepare(task.build_model())
    kinds = {"templates": 0, "coefficients": 0, "bn": 0, "fc": 0}
    for name, parameter in model.named_parameters():
        (kind,) = [kind for kind in kinds if f".{kind}" in name]
        kinds[kind] += parameter.numel()
    assert kinds["templates"] == 36_480_432
    assert kinds["bn"] == 71_808
    assert kinds["fc"] == 256_400
    assert round(sum(kinds.values()) / 1e6, 2) == 36.81


@pytest.mark.parametrize(
    ("depth", "width", "millions"),
    [
        (28, 10, 36.54),
        (28, 7, 17.93),
        (28, 4, 5.87),
        (28, 3, 3.31),
        (28, 5, 9.16),
        (16, 7, 8.44),
        (16, 4, 2.77),
        (34, 8, 29.60),
        (28, 12, 52.59),
        (28, 8, 23.40),
    ],
)
def test_wide_resnets_of_the_paper(depth, width, millions):
    with torch.device("meta"):
        network = build_backbone(f"wrn_{depth}_{width}", 100, 3, 32)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == millions
    shapes = [tuple(p.shape) for p in network.parameters() if p.ndim == 4]
    assert sorted(shapes) == sorted(wrn_shapes(depth, width))


def test_bins_follow_depth_and_keep_1x1_layers_together():
    (bins,) = depth_bins([wrn_shapes(28, 10)], 4)
    shapes = wrn_shapes(28, 10)
    assert [c for c, shape in zip(bins, shapes, strict=True) if shape[2:] == (1, 1)] == [0] * 3
    three = [c for c, shape in zip(bins, shapes, strict=True) if shape[2:] == (3, 3)]
    assert three == [1] * 7 + [2] * 6 + [3] * 6 + [4] * 6


def test_the_same_layer_of_all_members_shares_in_a_cluster_for_each_layer():
    shallow, deep = wrn_shapes(16, 4), wrn_shapes(28, 7)
    first, second = per_layer([shallow, deep])
    assert len(set(first)) == len(shallow)
    assert len(set(second)) == len(deep)
    assert set(first) < set(second)


blocks = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 12)), min_size=1, max_size=8)


@given(blocks=blocks, spare=st.integers(0, 2000))
def test_allocation_properties(blocks, spare):
    sizes = [size for size, _ in blocks]
    counts = allocate(blocks, sum(sizes) + spare)
    spent = sum(size * count for size, count in zip(sizes, counts, strict=True))
    assert spent <= sum(sizes) + spare
    assert all(1 <= count <= MOST_TEMPLATES for count in counts)
    left = sum(sizes) + spare - spent
    growing = [size for size, count in zip(sizes, counts, strict=True) if count < MOST_TEMPLATES]
    assert all(size > left for size in growing), "room was left for one more template"


def test_blocks_of_many_layers_come_first():
    # 10 for the two blocks; of 30 more, the block of three layers takes two before any other.
    assert allocate([(5, 1), (5, 3)], 10 + 10) == [1, 3]
    assert allocate([(5, 1), (5, 3)], 10 + 15) == [2, 3]
