"""Operations of real training steps: exact where they are all alike, fair where they are not."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.meters.operations import UnknownOperation
from benchmarks.meters.train_operations import EARLY, EVERY, TrainOperations

WIDTH = 4
ONE_LAYER = 3 * 2 * WIDTH * WIDTH
"""FLOPs an image: forward, and backward to weights and inputs."""


def layers_step(depths):
    """A training step that goes through as many layers as the list says, step by step."""
    weight = nn.Parameter(torch.eye(WIDTH))
    made = []

    def step(model, data, optim_wrapper):
        x = data["inputs"].clone().requires_grad_()
        for _ in range(depths[len(made) % len(depths)]):
            x = x @ weight
        x.sum().backward()
        made.append(1)
        return {}

    return step


def run(meter, step, images):
    watched = meter.watched(step)
    for count in images:
        watched(None, {"inputs": torch.randn(count, WIDTH)}, None)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=50), st.integers(1, 3))
def test_steps_that_are_all_alike_are_charged_exactly(images, depth):
    meter = TrainOperations(strict=True)
    run(meter, layers_step([depth]), images)
    assert meter.flops() == pytest.approx(depth * ONE_LAYER * sum(images))


def test_steps_that_differ_are_charged_by_those_counted():
    torch.manual_seed(0)
    depths = torch.randint(1, 6, (1000,)).tolist()
    meter = TrainOperations(strict=True)
    run(meter, layers_step(depths), [2] * 1000)
    assert meter.flops() == pytest.approx(2 * ONE_LAYER * sum(depths), rel=0.1)
    assert meter.how("train") == f"counted in {len(EARLY) + 1000 // EVERY} of 1000 steps"


def test_a_step_that_grows_dearer_is_followed():
    depths = [1 + number // 200 for number in range(1000)]
    meter = TrainOperations(strict=True)
    run(meter, layers_step(depths), [2] * 1000)
    assert meter.flops() == pytest.approx(2 * ONE_LAYER * sum(depths), rel=0.03)


def test_phases_have_prices_of_their_own_and_add_up():
    meter = TrainOperations(strict=True)
    meter.phase = "search"
    run(meter, layers_step([3]), [4] * 5)
    meter.phase = "train"
    run(meter, layers_step([1]), [4] * 7)
    assert meter.flops("search") == pytest.approx(3 * ONE_LAYER * 20)
    assert meter.flops("train") == pytest.approx(ONE_LAYER * 28)
    assert meter.flops() == pytest.approx(meter.flops("search") + meter.flops("train"))


@pytest.mark.parametrize("cut", [1, 3, 4, 20, 33])
def test_a_resumed_count_goes_on_as_if_nothing_had_happened(cut):
    depths = [1, 2, 3]
    whole, first, second = (TrainOperations(strict=True) for _ in range(3))
    run(whole, layers_step(depths), [2] * 60)
    run(first, layers_step(depths), [2] * cut)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    shifted = depths[cut % 3 :] + depths[: cut % 3]
    run(second, layers_step(shifted), [2] * (60 - cut))
    assert second.flops() == whole.flops()


@torch.library.custom_op("budget_tests::strange", mutates_args=())
def strange(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def strange_step(model, data, optim_wrapper):
    strange(data["inputs"])
    return {"loss": torch.zeros(())}


def test_an_unknown_operation_is_no_price_or_an_error():
    lenient = TrainOperations(strict=False)
    run(lenient, strange_step, [2, 2])
    assert lenient.flops() is None
    assert "budget_tests.strange" in lenient.problem
    with pytest.raises(UnknownOperation, match=r"budget_tests\.strange"):
        run(TrainOperations(strict=True), strange_step, [2])
