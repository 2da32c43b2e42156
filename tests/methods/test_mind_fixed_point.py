"""The solver by itself, on maps whose fixed points are known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.mind.iterating import relative_change, solve


def affine(rates):
    """z -> x + r z, image by image: contracts at rate r to x / (1 - r)."""
    rates = torch.tensor(rates, dtype=torch.float64)[:, None]
    return rates, lambda x, z: x[:, 1:] + x[:, :1] * z


def run(rates, epsilon, max_steps, compact=True):
    rates, step = affine(rates)
    targets = torch.arange(1.0, 4.0, dtype=torch.float64).expand(len(rates), 3)
    x = torch.cat([rates, targets], 1)  # the rate travels with its image
    return x, solve(step, x, targets, epsilon, max_steps, compact)


def test_the_limit_is_the_fixed_point_of_each_image():
    rates = [0.0, 0.3, -0.6, 0.8]
    x, found = run(rates, 1e-12, 400)
    assert torch.allclose(found.z, x[:, 1:] / (1 - x[:, :1]), rtol=1e-10)
    assert found.converged.all()


def test_an_image_stops_when_its_last_change_is_below_epsilon():
    epsilon = 1e-4
    _, found = run([0.1, 0.5, 0.9], epsilon, 500)
    # z_k = x (1 - r^k) / (1 - r): the relative change of step k is r^(k-1) (1 - r) / (1 - r^k).
    for rate, steps in zip([0.1, 0.5, 0.9], found.steps.tolist(), strict=True):
        change = [rate ** (k - 1) * (1 - rate) / (1 - rate**k) for k in range(1, 501)]
        assert steps == next(k for k, c in enumerate(change, 1) if k > 1 and c < epsilon)


def test_the_steps_run_out_for_an_image_that_does_not_converge():
    _, found = run([0.2, 1.1], 1e-6, 30)
    assert found.converged.tolist() == [True, False]
    assert found.steps[1] == 30
    assert found.steps[0] < 15


@settings(max_examples=30, deadline=None)
@given(
    rates=st.lists(st.floats(-0.95, 0.95), min_size=1, max_size=6),
    steps=st.integers(1, 40),
    exponent=st.integers(1, 9),
)
def test_compaction_changes_nothing_but_the_work(rates, steps, exponent):
    _, compact = run(rates, 10.0**-exponent, steps)
    _, whole = run(rates, 10.0**-exponent, steps, compact=False)
    for a, b in zip(compact, whole, strict=True):
        assert torch.equal(a, b)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-0.9, 0.9), min_size=2, max_size=6))
def test_an_image_does_not_depend_on_its_company(rates):
    _, together = run(rates, 1e-5, 60)
    for index, rate in enumerate(rates):
        _, alone = run([rate], 1e-5, 60)
        assert torch.equal(together.z[index], alone.z[0])
        assert together.steps[index] == alone.steps[0]


def test_compaction_computes_only_the_images_that_move():
    seen = []
    rates, step = affine([0.0, 0.9])
    x = torch.cat([rates, torch.ones(2, 3, dtype=torch.float64)], 1)

    def counting(inner, z):
        seen.append(len(z))
        return step(inner, z)

    solve(counting, x, x[:, 1:], 1e-3, 20)
    assert seen[0] == 2
    assert set(seen[1:]) == {1}


def test_relative_change_is_a_number_for_each_image():
    old = torch.zeros(2, 2, 2)
    new = torch.stack([torch.full((2, 2), 3.0), torch.zeros(2, 2)])
    assert relative_change(new, old).tolist() == [1.0, 0.0]
    assert relative_change(new * 0.5, new)[0].item() == pytest.approx(1.0)
    assert math.isfinite(relative_change(old, old).sum())
