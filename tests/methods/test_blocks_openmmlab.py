"""The block view of mmdet's and mmseg's backbones, against their own structure and passes."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from openmmlab_models import DILATED, backbone, fcn, resnet, retinanet, swin
from torch import nn

from methods.blocks import block_view, has_matching_neighbours
from tasks.errors import UserError

# Factory, kind of block, blocks a stage, width at the end of each, factor that each shrinks by.
NETWORKS = {
    "mmdet resnet18": (
        lambda: resnet(depth=18),
        *("basic", [2, 2, 2, 2], [8, 16, 32, 64], [1, 2, 2, 2]),
    ),
    "mmdet resnet50": (resnet, "bottleneck", [3, 4, 6, 3], [32, 64, 128, 256], [1, 2, 2, 2]),
    "mmdet caffe": (
        lambda: resnet(style="caffe"),
        *("bottleneck", [3, 4, 6, 3], [32, 64, 128, 256], [1, 2, 2, 2]),
    ),
    "mmdet resnet_v1d": (
        lambda: resnet(kind="ResNetV1d", stem_channels=8),
        *("bottleneck", [3, 4, 6, 3], [32, 64, 128, 256], [1, 2, 2, 2]),
    ),
    "mmdet resnext": (
        lambda: resnet(kind="ResNeXt", groups=2, base_width=4),
        *("bottleneck", [3, 4, 6, 3], [32, 64, 128, 256], [1, 2, 2, 2]),
    ),
    "mmdet group norm": (
        lambda: resnet(depth=18, norm_cfg={"type": "GN", "num_groups": 2}),
        *("basic", [2, 2, 2, 2], [8, 16, 32, 64], [1, 2, 2, 2]),
    ),
    "mmseg resnet_v1c dilated": (
        lambda: resnet("mmseg", "ResNetV1c", contract_dilation=True, **DILATED),
        *("bottleneck", [3, 4, 6, 3], [32, 64, 128, 256], [1, 2, 1, 1]),
    ),
    "mmdet swin": (swin, "swin", [2, 2, 4, 2], [12, 24, 48, 96], [1, 1, 1, 1]),
    "mmseg swin": (
        lambda: swin("mmseg"),
        *("swin", [2, 2, 4, 2], [12, 24, 48, 96], [1, 1, 1, 1]),
    ),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    network = NETWORKS[name][0]()
    network.eval()  # which returns nothing
    return network, torch.rand(2, 3, 64, 64)


@every_network
def test_stages_widths_and_strides_are_those_of_the_architecture(name):
    network, _ = build(name)
    _, kind, sizes, widths, strides = NETWORKS[name]
    view = block_view(network)
    assert {block.kind for block in view} == {kind}
    assert [len(stage) for stage in view.stages] == sizes
    assert [stage[-1].out_channels for stage in view.stages] == widths
    assert [stage[0].stride for stage in view.stages] == strides
    assert all(block.stride == 1 for stage in view.stages for block in stage[1:])


@every_network
def test_the_view_says_what_a_forward_pass_does(name):
    network, images = build(name)
    seen = {}
    for block in block_view(network):
        block.module.register_forward_hook(
            lambda _, inputs, output, number=block.number: seen.update(
                {number: (inputs[0].shape, output.shape)}
            )
        )
    network(images)
    for block in block_view(network):
        before, after = seen[block.number]
        channels = -1 if block.kind == "swin" else 1
        assert (before[channels], after[channels]) == (block.in_channels, block.out_channels)
        if block.kind != "swin":
            assert -(-before[2] // block.stride) == after[2]
        if block.shape_preserving:
            assert before == after


@every_network
def test_what_a_branch_end_puts_out_is_added_to_the_blocks_input(name):
    network, images = build(name)
    kept = [block for block in block_view(network) if block.shape_preserving]
    checked = []

    def is_input_and_ones(module, inputs, output):
        branches = 2 if "swin" in name else 1
        torch.testing.assert_close(output, inputs[0] + branches)
        checked.append(module)

    for block in kept:
        for end in block.branch_ends:
            end.register_forward_hook(lambda module, inputs, output: torch.ones_like(output))
        block.module.register_forward_hook(is_input_and_ones)
    network(images)
    assert checked == [block.module for block in kept] != []


@every_network
def test_roles_and_norms_hold_every_weight_of_the_main_branch(name):
    network, _ = build(name)
    for block in block_view(network):
        layers = [*block.roles.values(), *block.norms.values()]
        named = {p for layer in layers for p in layer.parameters()}
        others = {
            p
            for key, p in block.module.named_parameters()
            if "downsample" in key or "relative_position" in key
        }
        assert named == set(block.module.parameters()) - others


@every_network
def test_a_dropped_block_leaves_the_outputs_shapes_and_is_bypassed(name):
    network, images = build(name)
    shapes = [out.shape for out in network(images)]
    block = [block for block in block_view(network) if block.shape_preserving][-1]
    bypass = block.module.register_forward_hook(lambda module, inputs, output: inputs[0])
    expected = network(images)
    bypass.remove()
    blocks = len(block_view(network))
    block.drop()
    found = network(images)
    assert [out.shape for out in found] == shapes
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    view = block_view(network)
    assert len(view) == blocks - 1
    assert [b.number for b in view] == list(range(1, blocks))


def test_the_first_block_of_a_stage_changes_the_map_also_where_its_resolution_stays():
    view = block_view(resnet("mmseg", "ResNetV1c", **DILATED))
    assert [[b.shape_preserving for b in stage[:2]] for stage in view.stages] == [[False, True]] * 4


def test_blocks_that_differ_in_dilation_alone_match():
    options = {**DILATED, "multi_grid": (1, 2, 4), "contract_dilation": True}
    view = block_view(resnet("mmseg", "ResNetV1c", **options))
    dilations = [block.roles["conv2"].dilation[0] for block in view.stages[3]]
    assert dilations == [1, 2, 4]
    middle = view.stages[2][1]
    assert [b.roles["conv2"].dilation[0] for b in view.stages[2][:3]] == [1, 2, 2]
    assert not has_matching_neighbours(view, middle)  # the first block's input is narrower
    assert has_matching_neighbours(view, middle, ["conv2", "conv3"])


def test_the_view_of_a_detector_or_segmentor_is_that_of_its_backbone():
    for model in (retinanet(), fcn()):
        view = block_view(model)
        assert view.backbone is model.backbone
        assert len(view) == 16


@pytest.mark.parametrize("make", [resnet, swin])
def test_blocks_of_frozen_stages_are_known(make):
    view = block_view(make(frozen_stages=2))
    assert [stage[0].frozen for stage in view.stages] == [True, True, False, False]
    assert not any(block.frozen for block in block_view(make(frozen_stages=0)))


def test_a_copy_of_a_network_with_a_dropped_block_loads_its_weights():
    network, images = build("mmdet swin")
    block_view(network).block(6).drop()
    twin = copy.deepcopy(network)
    twin.load_state_dict(network.state_dict())
    for ours, theirs in zip(twin(images), network(images), strict=True):
        assert torch.equal(ours, theirs)


def test_blocks_with_plugins_are_refused():
    plugin = {"cfg": {"type": "ContextBlock", "ratio": 0.25}, "position": "after_conv3"}
    told = r"no block view of Bottleneck, a block of ResNet: .*block_parts\(\)"
    with pytest.raises(UserError, match=told):
        block_view(resnet(plugins=[plugin]))


def test_a_network_that_goes_on_otherwise_after_its_first_stage_is_no_resnet():
    widths = {"num_modules": 1, "num_branches": 1, "block": "BOTTLENECK", "num_blocks": (1,)}
    extra = {"stage1": {**widths, "num_channels": (8,)}}
    for stage in (2, 3, 4):
        branches = {"num_branches": stage, "num_blocks": (1,) * stage}
        channels = tuple(8 * 2**n for n in range(stage))
        extra[f"stage{stage}"] = {**widths, **branches, "block": "BASIC", "num_channels": channels}
    with pytest.raises(UserError, match=re.escape("no block view of the backbone HRNet")):
        block_view(backbone("mmdet", "HRNet", extra=extra))
