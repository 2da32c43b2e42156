"""Stochastic depth: rates by hand, expectations by counting, and the plain network untouched."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from methods.blocks import Block, block_view
from methods.stochastic_depth import StochasticDepth
from tasks.classification.classifier import Classifier
from tasks.classification.models.zoo import build_backbone
from tasks.errors import UserError
from tasks.registry import build


def cifar(blocks_a_stage: int = 1) -> Classifier:
    torch.manual_seed(0)
    return Classifier(build_backbone(f"cifar_resnet{6 * blocks_a_stage + 2}", 5, 3, 8))


def branch_output(block: Block, rows: int = 40_000) -> torch.Tensor:
    """What becomes of ones (rows, 1) that a branch's end would have put out; per branch end."""
    outputs = []
    for end in block.branch_ends:
        # Running the hooks alone: the layer itself gives way to a layer of ones.
        forward, end.forward = end.forward, lambda x: torch.ones(rows, 1)
        try:
            outputs.append(end(torch.empty(0)))
        finally:
            end.forward = forward
    return torch.cat(outputs, dim=1)


def survival_rates(model: nn.Module) -> list[float]:
    model.train()
    view = block_view(model)
    return [(branch_output(block) != 0).float().mean().item() for block in view]


def test_survival_falls_linearly_to_the_last_block():
    torch.manual_seed(1)
    model = StochasticDepth(survival=0.4).prepare(cifar())
    # 1 - l/3 * 0.6 for l = 1, 2, 3; a rate over 40000 draws has a deviation below 0.0025.
    assert survival_rates(model) == pytest.approx([0.8, 0.6, 0.4], abs=0.01)


def test_the_expected_output_is_that_of_the_plain_branch():
    torch.manual_seed(1)
    model = StochasticDepth(survival=0.4).prepare(cifar()).train()
    for block in block_view(model):
        assert branch_output(block).mean().item() == pytest.approx(1, abs=0.03)


def test_the_last_block_of_a_convolutional_network_survives_four_times_in_five():
    model = StochasticDepth().prepare(cifar())
    assert survival_rates(model)[-1] == pytest.approx(0.8, abs=0.01)


def test_a_vit_drops_both_branches_each_by_itself():
    torch.manual_seed(1)
    network = VisionTransformer(16, 4, 2, 2, 8, 16, num_classes=5)
    StochasticDepth().prepare(Classifier(network)).train()
    attention, mlp = (branch_output(block_view(network).block(2)) != 0).float().T
    assert attention.mean().item() == pytest.approx(0.9, abs=0.01)
    assert mlp.mean().item() == pytest.approx(0.9, abs=0.01)
    assert (attention * mlp).mean().item() == pytest.approx(0.81, abs=0.01)


def test_swins_own_rates_are_replaced_and_not_added_to():
    torch.manual_seed(1)
    network = SwinTransformer([2, 2], 8, [1, 1], [2, 4], [2, 2], stochastic_depth_prob=0.5)
    StochasticDepth(survival=0.8).prepare(Classifier(network)).train()
    for block, expected in zip(block_view(network), (0.9, 0.8), strict=True):
        dropped = block.module.stochastic_depth(torch.ones(40_000, 1))
        assert (dropped != 0).float().mean().item() == pytest.approx(expected, abs=0.01)
        for branch in (block.module.attn, block.module.mlp):
            assert torch.equal(branch(x := torch.rand(64, 2, 2, block.in_channels)), branch(x))


def test_a_block_without_a_shortcut_is_never_dropped():
    network = MobileNetV2(5, inverted_residual_setting=[[1, 16, 1, 1], [2, 24, 2, 2]])
    model = StochasticDepth(survival=0.01).prepare(Classifier(network)).train()
    images = torch.rand(2, 3, 16, 16)
    for key in ("1", "2"):
        block = network.features[int(key)]
        block.register_forward_hook(
            lambda module, inputs, output: seen.append(output.flatten(1).abs().sum(1) > 0)
        )
    seen: list[torch.Tensor] = []
    for _ in range(20):
        model(images)
    assert torch.stack(seen).all()


@pytest.mark.parametrize(("mode", "kinds"), [("row", {0.0, 2.0}), ("batch", None)])
def test_the_mode_says_what_is_dropped_together(mode, kinds):
    torch.manual_seed(1)
    model = StochasticDepth(survival=0.5, mode=mode).prepare(cifar()).train()
    last = block_view(model).block(3)
    draws = [set(branch_output(last, rows=64).flatten().tolist()) for _ in range(20)]
    if mode == "row":
        assert all(draw == kinds for draw in draws)
    else:
        assert {frozenset(draw) for draw in draws} == {frozenset({0.0}), frozenset({2.0})}


def test_survival_one_is_plain_training_to_the_bit():
    plain = cifar()
    model = StochasticDepth(survival=1.0).prepare(copy.deepcopy(plain))
    data, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    for network in (plain, model):
        network.train()
        network(data, labels, mode="loss")["loss"].backward()
    for (name, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad), name


def test_evaluation_and_names_are_those_of_the_plain_network():
    plain = cifar().eval()
    model = StochasticDepth(survival=0.1).prepare(copy.deepcopy(plain)).eval()
    images = torch.rand(4, 3, 8, 8)
    assert torch.equal(model(images), plain(images))
    assert list(model.state_dict()) == list(plain.state_dict())


def test_blocks_are_dropped_though_their_norms_are_frozen_in_evaluation_mode():
    model = StochasticDepth(survival=0.4).prepare(cifar()).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    last = block_view(model).block(3)
    assert (branch_output(last) == 0).any()


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_drops_by_its_own_mode(twin):
    model = StochasticDepth(survival=0.4).prepare(cifar())
    other = twin(model)
    model.eval()
    other.train()
    assert (branch_output(block_view(model).block(3)) == 1).all()
    assert (branch_output(block_view(other).block(3)) == 0).any()


@pytest.mark.parametrize("survival", [0, -0.1, 1.1, float("nan")])
def test_a_survival_that_is_no_probability_is_refused(survival):
    with pytest.raises(UserError, match="above 0 and at most 1"):
        StochasticDepth(survival=survival)


def test_an_unknown_mode_is_refused():
    with pytest.raises(UserError, match="did you mean 'batch'"):
        build("stochastic_depth", StochasticDepth, {"mode": "bach"})


def test_a_network_without_a_residual_branch_is_refused():
    network = MobileNetV2(5, inverted_residual_setting=[[1, 16, 1, 1], [2, 24, 1, 2]])
    with pytest.raises(UserError, match="needs residual branches"):
        StochasticDepth().prepare(Classifier(network))
