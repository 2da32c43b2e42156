"""The block view against torchvision's own names, real forward passes and hand counts."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from methods.blocks import BlockView, Parts, block_view, build_view, register_view
from tasks.classification.classifier import Classifier
from tasks.classification.models.zoo import build_backbone
from tasks.errors import UserError


def small_vit() -> nn.Module:
    network = VisionTransformer(16, 4, 3, 2, 8, 16, num_classes=5)
    nn.init.normal_(network.heads.head.weight)  # zero as torchvision makes it
    return network


def small_swin() -> nn.Module:
    return SwinTransformer([2, 2], 8, [2, 2], [2, 4], [2, 2], num_classes=5)


def torchvision_resnet(block: str, layers: list[int]) -> nn.Module:
    kind = getattr(torchvision.models.resnet, block)
    return torchvision.models.ResNet(kind, layers, num_classes=5)


# Network, image side, kind of block, blocks a stage, width at the end of each stage.
NETWORKS = {
    "basic": (
        lambda: torchvision_resnet("BasicBlock", [2, 1, 2, 1]),
        *(32, "basic", [2, 1, 2, 1], [64, 128, 256, 512]),
    ),
    "bottleneck": (
        lambda: torchvision_resnet("Bottleneck", [2, 1, 2, 1]),
        *(32, "bottleneck", [2, 1, 2, 1], [256, 512, 1024, 2048]),
    ),
    "cifar": (
        lambda: build_backbone("cifar_resnet20", 5, 3, 16),
        *(16, "basic", [3, 3, 3], [16, 32, 64]),
    ),
    "wrn": (
        lambda: build_backbone("wrn_16_1", 5, 3, 16),
        *(16, "preact", [2, 2, 2], [16, 32, 64]),
    ),
    "mobilenet": (
        lambda: torchvision.models.mobilenet_v2(num_classes=5),
        *(32, "inverted_residual", [1, 2, 3, 4, 3, 3, 1], [16, 24, 32, 64, 96, 160, 320]),
    ),
    "vit": (small_vit, 16, "vit", [3], [8]),
    "swin": (small_swin, 32, "swin", [2, 2], [8, 16]),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    factory, side, *_ = NETWORKS[name]
    torch.manual_seed(0)
    return factory().eval(), torch.rand(2, 3, side, side)


def shortcuts_and_tables(module: nn.Module) -> set[nn.Parameter]:
    marks = ("downsample", "shortcut", "relative_position")
    return {p for name, p in module.named_parameters() if any(mark in name for mark in marks)}


@every_network
def test_the_stages_and_widths_are_those_of_the_architecture(name):
    backbone, _ = build(name)
    _, _, kind, sizes, widths = NETWORKS[name]
    view = block_view(backbone)
    assert [len(stage) for stage in view.stages] == sizes
    assert [stage[-1].out_channels for stage in view.stages] == widths
    assert {block.kind for block in view} == {kind}
    assert [block.number for block in view] == list(range(1, sum(sizes) + 1))


@every_network
def test_widths_and_strides_are_those_of_a_forward_pass(name):
    backbone, images = build(name)
    seen = {}
    for block in block_view(backbone):
        block.module.register_forward_hook(
            lambda _, inputs, output, number=block.number: seen.update(
                {number: (inputs[0].shape, output.shape)}
            )
        )
    backbone(images)
    for block in block_view(backbone):
        before, after = seen[block.number]
        # Channels come first in feature maps, last in tokens and in Swin's maps.
        channels, side = (-1, 1) if block.kind in ("vit", "swin") else (1, 2)
        assert before[channels] == block.in_channels
        assert after[channels] == block.out_channels
        assert -(-before[side] // block.stride) == after[side]
        if block.shape_preserving:
            assert before == after


@every_network
def test_what_a_branch_end_puts_out_is_added_to_the_blocks_input(name):
    backbone, images = build(name)
    branches = 2 if name in ("vit", "swin") else 1
    checked = []

    def is_input_and_ones(module, inputs, output):
        # Activations are not negative where a ReLU follows the sum.
        torch.testing.assert_close(output, inputs[0] + branches)
        checked.append(module)

    kept = [block for block in block_view(backbone) if block.shape_preserving]
    for block in kept:
        for end in block.branch_ends:
            end.register_forward_hook(lambda module, inputs, output: torch.ones_like(output))
        block.module.register_forward_hook(is_input_and_ones)
    backbone(images)
    assert checked == [block.module for block in kept] != []


@every_network
def test_roles_and_norms_hold_every_weight_of_the_main_branch(name):
    backbone, _ = build(name)
    for block in block_view(backbone):
        layers = [*block.roles.values(), *block.norms.values()]
        named = {p for layer in layers for p in layer.parameters()}
        assert named == set(block.module.parameters()) - shortcuts_and_tables(block.module)


@every_network
def test_a_network_without_a_block_computes_what_it_computes_when_the_block_is_bypassed(name):
    backbone, images = build(name)
    block = next(block for block in block_view(backbone) if block.shape_preserving)
    bypass = block.module.register_forward_hook(lambda module, inputs, output: inputs[0])
    expected = backbone(images)
    bypass.remove()
    assert not torch.equal(backbone(images), expected)
    blocks = len(block_view(backbone))
    block.drop()
    assert torch.equal(backbone(images), expected)
    assert len(block_view(backbone)) == blocks - 1


def test_numbers_run_over_all_stages():
    with torch.device("meta"):
        network = torchvision.models.resnet50()
    view = block_view(network)
    assert view.block(12).module is network.layer3[4]
    assert [b and b.number for b in view.neighbours(view.block(12))] == [11, 13]
    assert view.neighbours(view.block(8))[0] is None
    assert view.neighbours(view.block(13))[1] is None
    with pytest.raises(UserError, match="no block 17: ResNet has blocks 1 to 16"):
        view.block(17)


def test_the_view_of_a_model_is_the_view_of_its_backbone():
    network = torchvision_resnet("BasicBlock", [1, 1, 1, 1])
    assert block_view(Classifier(network)).backbone is network


def test_a_replaced_block_is_seen_through_the_view_and_in_the_network():
    network = torchvision_resnet("BasicBlock", [2, 1, 1, 1])
    block = block_view(network).block(2)
    module = nn.Conv2d(64, 64, 1)
    block.replace(module)
    assert network.layer1[1] is module
    assert block.module is module


def test_a_block_that_changes_shape_cannot_be_dropped():
    network = torchvision_resnet("BasicBlock", [1, 1, 1, 1])
    with pytest.raises(UserError, match=r"block 2 cannot be dropped.*64 to 128 channels, stride 2"):
        block_view(network).block(2).drop()


def test_a_network_with_a_dropped_block_can_be_copied_pickled_and_loaded():
    network = torchvision_resnet("BasicBlock", [2, 1, 1, 1]).eval()
    block_view(network).block(2).drop()
    images = torch.rand(1, 3, 32, 32)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        twin.load_state_dict(network.state_dict())
        assert torch.equal(twin(images), network(images))


class Grouped(nn.Module):
    """A basic block with the attribute names of mmdet and mmseg, whose norm is gn1."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1_name, self.norm2_name = "gn1", "gn2"
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.gn1 = nn.GroupNorm(2, 4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.gn2 = nn.GroupNorm(2, 4)


class Staged(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(*blocks)


def test_norm_layers_are_found_under_the_name_that_the_block_gives_them():
    (block,) = block_view(Staged(Grouped()))
    assert list(block.norms) == ["gn1", "gn2"]
    assert block.branch_ends == [block.module.gn2]


@pytest.mark.parametrize(
    ("shortcut", "preserving"),
    [(nn.Conv2d(4, 4, 1), False), (nn.Sequential(), True), (nn.Identity(), True), (None, True)],
)
def test_a_block_with_a_projection_keeps_no_shape_though_its_sizes_agree(shortcut, preserving):
    block = Grouped()
    block.downsample = shortcut
    (seen,) = block_view(Staged(block))
    assert seen.shape_preserving == preserving


def test_a_block_with_layers_that_nothing_is_known_of_is_refused():
    block = Grouped()
    block.attention = nn.Linear(4, 4)
    with pytest.raises(UserError, match=r"Grouped, a block of Staged: .* block_parts\(\)"):
        block_view(Staged(block))


class SelfMade(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def block_parts(self) -> Parts:
        return Parts("mine", 4, 4, 1, ("norm",), {}, ("norm",))


def test_a_block_may_describe_itself():
    first, second = block_view(Staged(Grouped(), SelfMade()))
    assert (first.kind, second.kind) == ("basic", "mine")
    assert second.branch_ends == [second.module.norm]


def test_a_backbone_without_a_view_is_refused_with_what_to_provide():
    with pytest.raises(UserError, match=r"Linear.*block_view\(\).*@methods.blocks.register_view"):
        block_view(nn.Linear(2, 2))


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList([SelfMade(), SelfMade()])


def chain_view(backbone: Chain) -> BlockView:
    places = [[(backbone.body, "0"), (backbone.body, "1")]]
    return build_view(backbone, places, lambda module: None)


def test_a_backbone_may_bring_its_own_view():
    class OwnChain(Chain):
        def block_view(self) -> BlockView:
            return chain_view(self)

    assert len(block_view(OwnChain())) == 2


def test_a_view_can_be_registered_for_a_class():
    class RegisteredChain(Chain):
        pass

    register_view(RegisteredChain)(chain_view)
    assert len(block_view(RegisteredChain())) == 2
