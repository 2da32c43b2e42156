"""Grouping by similarity: Algorithm 1, the official variant, and clusters from gradients."""

from __future__ import annotations

import itertools
from collections import Counter

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from methods.superweight.banks import depth_bins, minimum, random_bins
from methods.superweight.search import (
    by_relabelling,
    by_union,
    leaders,
    pairwise,
    refine,
    similarity,
)

CHAIN = [(0.9, 1, 2), (0.8, 0, 1), (0.2, 0, 2), (0.7, 3, 4), (0.3, 2, 3), (0.0, 0, 5)]


def test_pairs_above_the_threshold_are_united_and_the_rest_stay_alone():
    assert by_union(CHAIN, 6, 0.5) == [[0, 1, 2], [3, 4], [5]]
    assert by_union(CHAIN, 6, 0.25) == [[0, 1, 2, 3, 4], [5]]
    assert by_union(CHAIN, 6, 0.95) == [[0], [1], [2], [3], [4], [5]]


def test_a_pair_at_the_threshold_is_not_united():
    assert by_union([(0.5, 0, 1)], 2, 0.5) == [[0], [1]]


def test_a_single_item_is_a_group():
    assert by_union([], 1, 0.1) == [[0]]


def test_relabelling_leaves_behind_what_was_grouped_before():
    # 2 joins 1; then 1 leaves for 0 and 2 stays: a union would hold all three.
    assert by_relabelling([(0.9, 1, 2), (0.8, 0, 1)], 3, 0.5) == [[0, 1], [2]]
    assert by_union([(0.9, 1, 2), (0.8, 0, 1)], 3, 0.5) == [[0, 1, 2]]


@st.composite
def weighted_pairs(draw):
    items = draw(st.integers(1, 7))
    every = [(i, j) for i in range(items) for j in range(i + 1, items)]
    chosen = draw(st.lists(st.sampled_from(every), unique=True)) if every else []
    return items, [(draw(st.floats(-1, 1)), i, j) for i, j in chosen]


@given(drawn=weighted_pairs(), threshold=st.floats(-1, 1))
def test_union_gives_the_connected_components(drawn, threshold):
    items, pairs = drawn
    graph = networkx.Graph()
    graph.add_nodes_from(range(items))
    graph.add_edges_from((i, j) for value, i, j in pairs if value > threshold)
    expected = sorted(sorted(part) for part in networkx.connected_components(graph))
    assert by_union(pairs, items, threshold) == expected


@given(drawn=weighted_pairs(), threshold=st.floats(-1, 1))
def test_relabelling_gives_a_partition_finer_than_union(drawn, threshold):
    items, pairs = drawn
    parts = by_relabelling(pairs, items, threshold)
    assert sorted(item for part in parts for item in part) == list(range(items))
    united = [set(part) for part in by_union(pairs, items, threshold)]
    assert all(any(set(part) <= whole for whole in united) for part in parts)


def test_similarity_looks_at_common_channels_only():
    small = torch.tensor([[1.0, 2.0]])[..., None, None]
    large = torch.tensor([[2.0, 4.0, -9.0], [7.0, 7.0, 7.0]])[..., None, None]
    assert similarity(small, large) == pytest.approx(1)
    assert similarity(small, -large) == pytest.approx(-1)


def test_a_zero_gradient_is_similar_to_nothing():
    assert pairwise([torch.zeros(3), torch.ones(3)]) == [(0.0, 0, 1)]


SHAPES = [[(2, 2, 3, 3)] * 4]
UP, DOWN = torch.ones(2, 2, 3, 3), -torch.ones(2, 2, 3, 3)


def clusters(gradients, budget=10**6, threshold=0.1, shapes=SHAPES, bins=1):
    start = depth_bins(shapes, bins)
    return refine(start, shapes, gradients, threshold, budget, by_union)


def test_conflicting_layers_part_and_agreeing_ones_stay():
    gradients = {(0, 0): UP, (0, 1): DOWN, (0, 2): UP, (0, 3): DOWN}
    assert clusters(gradients) == ((0, 1, 0, 1),)


def test_layers_of_different_clusters_are_never_joined():
    gradients = dict.fromkeys([(0, n) for n in range(4)], UP)
    assert clusters(gradients, bins=2) == ((0, 0, 1, 1),)


def test_threshold_falls_until_the_minimum_bank_fits():
    tilted = UP.clone()
    tilted[0] = -1
    tilted[1, 0] = 3  # a cosine of about 0.3 with UP
    gradients = {(0, 0): UP, (0, 1): tilted, (0, 2): DOWN, (0, 3): DOWN}
    level = similarity(UP, tilted)
    assert 0.1 < level < 0.4
    assert clusters(gradients, threshold=0.6) == ((0, 1, 2, 2),)
    one_bank = minimum(SHAPES, ((0, 0, 0, 0),))
    assert clusters(gradients, threshold=0.6, budget=2 * one_bank) == ((0, 0, 1, 1),)


def test_the_start_is_the_answer_where_only_it_fits():
    gradients = {(0, n): gradient for n, gradient in enumerate((UP, DOWN, UP, DOWN))}
    assert clusters(gradients, budget=36) == ((0, 0, 0, 0),)


def test_members_follow_their_most_similar_layer_and_equal_depths_copy_by_index():
    shapes = [*SHAPES, [(4, 4, 3, 3)] * 2, [(3, 3, 3, 3)] * 2, [(1, 1, 3, 3)] * 4]
    assert leaders(shapes) == [0, 1, 1, 0]
    gradients = {(0, n): gradient for n, gradient in enumerate((UP, DOWN, UP, DOWN))}
    wide = torch.zeros(4, 4, 3, 3)
    gradients[1, 0] = wide.clone()
    gradients[1, 0][:2, :2] = DOWN
    gradients[1, 1] = wide.clone()
    gradients[1, 1][:2, :2] = UP
    assert clusters(gradients, shapes=shapes) == ((0, 1, 0, 1), (1, 0), (1, 0), (0, 1, 0, 1))


def test_layers_without_a_counterpart_in_member_0_keep_their_cluster():
    shapes = [*SHAPES, [(2, 2, 1, 1), (2, 2, 3, 3), (2, 2, 1, 1)]]
    gradients = {(0, n): UP for n in range(4)}
    gradients |= {(1, 0): UP[..., :1, :1], (1, 1): UP, (1, 2): DOWN[..., :1, :1]}
    first, second = clusters(gradients, shapes=shapes)
    assert second[0] == second[2]
    assert second[1] == first[0]


def test_random_clusters_have_the_sizes_of_depth_bins_and_other_layers():
    shapes = [[(16, 16, 3, 3)] * 12 + [(32, 16, 1, 1)] * 2] * 2
    whole = depth_bins(shapes, 3)
    found = random_bins(shapes, 3, np.random.default_rng(0))
    assert found != whole
    assert Counter(itertools.chain(*found)) == Counter(itertools.chain(*whole))
    for mine, theirs, member in zip(found, whole, shapes, strict=True):
        for cluster, other, shape in zip(mine, theirs, member, strict=True):
            points = {c for c, s in zip(theirs, member, strict=True) if s[2:] == shape[2:]}
            assert {cluster, other} <= points
    assert found == random_bins(shapes, 3, np.random.default_rng(0))
    assert found != random_bins(shapes, 3, np.random.default_rng(1))
