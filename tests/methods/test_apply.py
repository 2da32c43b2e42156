"""The surgery of methods on plain torchvision networks, without the harness."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18, resnet34

from methods.adaptive_depth import apply_adaptive_depth
from methods.adaptive_depth import export as export_subnet
from methods.checkpointing import apply_checkpointing
from methods.depth_matched import apply_depth_matched
from methods.optimal_depth import apply_optimal_depth
from methods.replacement import apply_replacement, export
from methods.stochastic_depth import apply_stochastic_depth
from tasks.errors import UserError


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_dropped_blocks_take_their_parameters_with_them(images: Tensor) -> None:
    network = resnet34(num_classes=10)
    blocks = [block for n in range(1, 5) for block in getattr(network, f"layer{n}")]
    before = size(network)
    dropped = apply_depth_matched(network, blocks=[2, 6], boundary="keep")
    assert dropped == (2, 6)
    assert before - size(network) == size(blocks[1]) + size(blocks[5])
    assert network(images).shape == (2, 10)


def test_branches_drop_in_training_alone(images: Tensor) -> None:
    network = resnet18(num_classes=10)
    plain = copy.deepcopy(network).eval()
    apply_stochastic_depth(network, survival=0.2)
    assert torch.equal(network.eval()(images), plain(images))
    network.train()
    outputs = {tuple(network(images)[0].tolist()) for _ in range(6)}
    assert len(outputs) > 1


def test_checkpointing_changes_no_gradient(images: Tensor) -> None:
    network = resnet18(num_classes=10)
    plain = copy.deepcopy(network)
    apply_checkpointing(network, every=2)
    for each in (network, plain):
        each(images).square().mean().backward()
    for ours, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_replaced_blocks_fold_into_a_network_of_the_same_outputs(images: Tensor) -> None:
    network = resnet34(num_classes=10)
    whole = size(network)
    assert apply_replacement(network, operator="full", every=4)
    assert size(network) < whole
    deployed = export(network)
    assert size(deployed) == whole
    torch.testing.assert_close(deployed.eval()(images), network.eval()(images))
    with pytest.raises(UserError, match="'operator' of replacement"):
        apply_replacement(resnet34(), operator="ful")


def test_a_super_net_is_the_network_that_it_was_made_of(images: Tensor) -> None:
    network = resnet18(num_classes=10)
    plain = copy.deepcopy(network).eval()
    second = sum(size(getattr(network, f"layer{n}")[1]) for n in range(1, 5))
    assert apply_adaptive_depth(network) == 4
    assert torch.equal(network.eval()(images), plain(images))
    base = export_subnet(network, [True] * 4)
    assert size(base) == size(plain) - second
    network.set_skip([True] * 4)
    assert torch.equal(base.eval()(images), network(images))


def test_a_depth_is_the_stem_its_blocks_and_an_exit(images: Tensor) -> None:
    network = resnet18(num_classes=10)
    parts = size(network.conv1) + size(network.bn1)
    parts += size(network.layer1) + size(network.layer2[0]) + 128 * 10 + 10
    whole = apply_optimal_depth(copy.deepcopy(network))
    assert len(whole.blocks) == 8
    small = apply_optimal_depth(network, depth=3)
    assert size(small) == parts
    assert small(images).shape == (2, 10)
