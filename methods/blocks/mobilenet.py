"""MobileNetV2 (Sandler 2018, arXiv 1801.04381) as torchvision builds it."""

from __future__ import annotations

import math

from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual, MobileNetV2

from methods.blocks.view import BlockView, Parts, Place, build_view, parts_of, register_view


@register_view(MobileNetV2)
def mobilenet_view(backbone: MobileNetV2) -> BlockView:
    """A stage is a run of inverted residuals of equal output width (a row of Table 2)."""
    stages: list[list[Place]] = []
    width = None
    # The first and the last of the features are plain convolutions.
    for key, child in list(backbone.features.named_children())[1:-1]:
        parts = parts_of(child, describe, backbone)
        if not stages or (parts is not None and parts.out_channels != width):
            stages.append([])
        stages[-1].append((backbone.features, key))
        width = width if parts is None else parts.out_channels
    return build_view(backbone, stages, describe)


def describe(block: nn.Module) -> Parts | None:
    """The parts of an inverted residual; without a shortcut it has no residual branch."""
    if not isinstance(block, InvertedResidual):
        return None
    # conv holds [expansion,] depthwise, each a triple of convolution, norm and activation, then
    # the projecting convolution and its norm. Expansion factor 1 has no expansion.
    last = len(block.conv) - 1
    convs = [f"conv.{i}.0" for i in range(last - 1)] + [f"conv.{last - 1}"]
    norms = [f"conv.{i}.1" for i in range(last - 1)] + [f"conv.{last}"]
    roles = dict(zip(("expand", "depthwise", "project")[-len(convs) :], convs, strict=True))
    layers = [block.get_submodule(path) for path in convs]
    return Parts(
        kind="inverted_residual",
        in_channels=layers[0].in_channels,
        out_channels=layers[-1].out_channels,
        stride=math.prod(layer.stride[0] for layer in layers),
        norm_paths=tuple(norms),
        role_paths=roles,
        branch_paths=(norms[-1],) if block.use_res_connect else (),
    )
