"""ResNets whose stages hang at ``layer1``, ``layer2``, ...: torchvision, CIFAR, WRN, mmdet, mmseg.

Blocks are known by their layers, not by their class, for each library has classes of its own:
``conv1, bn1, conv2, bn2`` is a basic block, with ``conv3, bn3`` a bottleneck (He 2016,
arXiv 1512.03385, Figure 5), ``bn1`` before ``conv1`` a pre-activation block (Zagoruyko 2016,
arXiv 1605.07146).
"""

from __future__ import annotations

import math
import re

from torch import nn

from methods.blocks.view import BlockView, Parts, build_view, register_view

_STAGE = re.compile(r"layer\d+")
_OTHER_STAGE = re.compile(r"stage\d+")
"""An HRNet calls its first stage ``layer1`` and goes on with ``stage2``, which holds branches."""
_SHORTCUTS = ("downsample", "shortcut")


def _stage_names(backbone: nn.Module) -> list[str]:
    names = [name for name, _ in backbone.named_children() if _STAGE.fullmatch(name)]
    return sorted(names, key=lambda name: int(name[len("layer") :]))


def _is_resnet(backbone: nn.Module) -> bool:
    others = any(_OTHER_STAGE.fullmatch(name) for name, _ in backbone.named_children())
    return bool(_stage_names(backbone)) and not others


@register_view(_is_resnet)
def resnet_view(backbone: nn.Module) -> BlockView:
    """Stages are ``layer1``, ``layer2``, ...; blocks their children."""
    stages = []
    for name in _stage_names(backbone):
        stage = backbone.get_submodule(name)
        stages.append([(stage, key) for key, _ in stage.named_children()])
    return build_view(backbone, stages, describe)


def describe(block: nn.Module) -> Parts | None:
    """The parts of a residual block of convolutions; None when it holds layers unknown here."""
    children = dict(block.named_children())
    # mmdet and mmseg name a norm layer by its type: bn1 or gn1, as norm1_name says.
    norm_names = [getattr(block, f"norm{i}_name", f"bn{i}") for i in (1, 2, 3)]
    pairs = [
        (f"conv{i}", norm)
        for i, norm in enumerate(norm_names, start=1)
        if isinstance(children.get(f"conv{i}"), nn.Conv2d) and norm in children
    ]
    known = {name for pair in pairs for name in pair} | set(_SHORTCUTS)
    weighted = {name for name, child in children.items() if any(True for _ in child.parameters())}
    if len(pairs) < 2 or not weighted <= known:
        return None
    convs = [name for name, _ in pairs]
    norms = [name for _, name in pairs]
    order = list(children)
    preactivation = order.index(norms[0]) < order.index(convs[0])
    layers = [children[name] for name in convs]
    return Parts(
        kind="preact" if preactivation else "basic" if len(pairs) == 2 else "bottleneck",
        in_channels=layers[0].in_channels,
        out_channels=layers[-1].out_channels,
        stride=math.prod(layer.stride[0] for layer in layers),
        norm_paths=tuple(norms),
        role_paths={name: name for name in convs},
        branch_paths=(convs[-1] if preactivation else norms[-1],),
        projection=any(_changes(getattr(block, name, None)) for name in _SHORTCUTS),
    )


def _changes(shortcut: nn.Module | None) -> bool:
    """Whether a shortcut is more than the identity; None and an empty Sequential are not."""
    if shortcut is None or isinstance(shortcut, nn.Identity):
        return False
    return not isinstance(shortcut, nn.Sequential) or len(shortcut) > 0
