"""Operations of real training steps: exact where they are all alike, fair where they are not."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.meters.operations import UnknownOperation
from benchmarks.meters.train_operations import DENSE, SPARSE, TrainOperations

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
    for count in images:
        meter.begin(count)
        with meter.counting():
            step(None, {"inputs": torch.randn(count, WIDTH)}, None)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=50), st.integers(1, 3))
def test_steps_that_are_all_alike_are_charged_exactly(images, depth):
    meter = TrainOperations(strict=True)
    run(meter, layers_step([depth]), images)
    assert meter.flops() == pytest.approx(depth * ONE_LAYER * sum(images))


def mean_over_seeds(depths: list[int], seeds: int) -> float:
    found = []
    for seed in range(seeds):
        meter = TrainOperations(strict=True, seed=seed)
        run(meter, layers_step(depths), [1] * len(depths))
        assert meter.how("train").endswith(f"of {len(depths)} steps")
        found.append(meter.flops())
    return sum(found) / seeds


def standard_error(depths: list[int], seeds: int) -> float:
    """Of the mean over seeds, relative: one step of each block is drawn and stands for it."""
    blocks = {b.start: b for b in map(DENSE.block, range(1, len(depths) + 1))}.values()
    values = torch.tensor(depths, dtype=torch.float64)
    spread = values.std() / values.mean()
    return float(spread * (sum(len(b) ** 2 for b in blocks) / seeds) ** 0.5 / len(depths))


def test_steps_that_differ_are_charged_by_those_counted():
    depths = torch.randint(1, 6, (400,), generator=torch.Generator().manual_seed(0)).tolist()
    error = 4 * standard_error(depths, 4)
    assert error < 0.2
    assert mean_over_seeds(depths, 4) == pytest.approx(ONE_LAYER * sum(depths), rel=error)


@pytest.mark.parametrize("period", [2, 3, 8])
@pytest.mark.parametrize("at", [0, 1])
def test_no_pattern_of_dear_steps_is_missed(period, at):
    """One step of so many costs ten times the others: over seeds the mean is right."""
    depths = [10 if number % period == at else 1 for number in range(400)]
    error = 4 * standard_error(depths, 8)
    assert error < 0.45
    assert mean_over_seeds(depths, 8) == pytest.approx(ONE_LAYER * sum(depths), rel=error)


@pytest.mark.parametrize("sampling", [DENSE, SPARSE])
def test_blocks_cover_every_step_once(sampling):
    blocks = [sampling.block(step) for step in range(1, 2000)]
    assert all(step in block for step, block in enumerate(blocks, 1))
    assert len({block.start for block in blocks}) == len(set(map(tuple, blocks)))
    assert max(map(len, blocks)) == min(sampling.most, len(blocks[-1]))


def test_a_step_that_grows_dearer_is_followed():
    depths = [1 + number // 200 for number in range(1000)]
    meter = TrainOperations(strict=True)
    run(meter, layers_step(depths), [2] * 1000)
    assert meter.flops() == pytest.approx(2 * ONE_LAYER * sum(depths), rel=0.03)


def test_what_hooks_of_a_counted_step_do_counts_with_it_and_at_ends_of_epochs_in_full():
    meter = TrainOperations(strict=True)
    run(meter, layers_step([1]), [2])
    with meter.counting():
        layers_step([3])(None, {"inputs": torch.randn(2, WIDTH)}, None)
    run(meter, layers_step([1]), [2])
    with meter.outside_steps():
        layers_step([10])(None, {"inputs": torch.randn(2, WIDTH)}, None)
    # The first step is a block of its own: the hook of the second one, not counted, is not seen.
    assert meter.flops() == pytest.approx(ONE_LAYER * 2 * (4 + 4 + 10))


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
