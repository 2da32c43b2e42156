"""A residual network that can stop after any of its blocks."""

from __future__ import annotations

import copy
from collections import OrderedDict

from mmengine.model import BaseModel
from torch import Tensor, nn

from methods.blocks import Block, BlockView, block_view
from tasks.errors import UserError


class Exit(nn.Sequential):
    """The classifier behind a block: global average pool, then one linear layer.

    Args:
        channels: the block's output width.
        num_classes: logits.
        normalise: begin with norm and ReLU, as the head of a pre-activation network does, whose
            blocks return a plain sum.
    """

    def __init__(self, channels: int, num_classes: int, normalise: bool) -> None:
        before = [nn.BatchNorm2d(channels), nn.ReLU()] if normalise else []
        pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(1)]
        super().__init__(*before, *pool, nn.Linear(channels, num_classes))


class DepthNetwork(nn.Module):
    """Stem, residual blocks, and an exit behind each block; only blocks up to ``depth`` run.

    Source: "Optimally Deep Networks", section III.A.

    Args:
        stem: what comes before the first block.
        blocks: the residual blocks in order.
        exits: one for each block.
    """

    def __init__(self, stem: nn.Module, blocks: list[nn.Module], exits: list[nn.Module]) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.exits = nn.ModuleList(exits)
        self.depth = len(blocks)

    def set_depth(self, depth: int) -> None:
        """Run blocks 1 to ``depth`` and train nothing else."""
        self.depth = depth
        self.requires_grad_(False)
        for part in (self.stem, self.blocks[:depth], self.exits[depth - 1]):
            part.requires_grad_(True)

    def set_all_depths(self) -> None:
        """Run to the last block and train everything, each exit included."""
        self.depth = len(self.blocks)
        self.requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of the exit at ``depth``."""
        x = self.stem(x)
        for block in self.blocks[: self.depth]:
            x = block(x)
        return self.exits[self.depth - 1](x)

    def truncated(self, depth: int) -> nn.Sequential:
        """A copy that holds the stem, blocks 1 to ``depth`` and their exit, and nothing more."""
        parts = OrderedDict(
            stem=self.stem, blocks=nn.Sequential(*self.blocks[:depth]), exit=self.exits[depth - 1]
        )
        return copy.deepcopy(nn.Sequential(parts)).requires_grad_(True)


def truncate(model: BaseModel, depth: int) -> BaseModel:
    """A copy of a task's model around the network of that depth: what is exported."""
    whole = model.backbone
    model.backbone = None  # the whole network is not copied to be thrown away
    try:
        shell = copy.deepcopy(model)
    finally:
        model.backbone = whole
    shell.backbone = whole.truncated(depth)
    shell.train(model.training)
    return shell


def apply_optimal_depth(model: nn.Module, depth: int | None = None) -> DepthNetwork | nn.Sequential:
    """Take a ResNet apart, and give the network of all its depths, or of one.

    >>> network = apply_optimal_depth(torchvision.models.resnet18(num_classes=10))
    >>> small = network.truncated(3)

    Args:
        model: the ResNet, or a model with one as ``backbone``; not to be used any further.
        depth: in residual blocks, from 1; None for all.

    Raises:
        UserError: the network is not built like a ResNet.
    """
    network = depth_network(model)
    return network if depth is None else network.truncated(depth)


def depth_network(model: nn.Module) -> DepthNetwork:
    """Take a ResNet apart at its blocks and give each block an exit.

    A depth is a residual block. Read for networks whose stages ``layer1``, ``layer2``, ... hang in
    the backbone one right after the other: torchvision's ResNets, those with a CIFAR stem, CIFAR
    and wide ResNets. The exits, the last one too, start from random weights; the backbone's own
    head is dropped.

    Raises:
        UserError: the backbone is not built like that.
    """
    view = block_view(model)
    backbone = view.backbone
    stem = _stem(backbone, view)
    linears = [m for m in backbone.modules() if isinstance(m, nn.Linear)]
    if not linears:
        raise _unfit(backbone, "it has no linear classifier")
    num_classes = linears[-1].out_features
    exits = [Exit(b.out_channels, num_classes, b.kind == "preact") for b in view]
    return DepthNetwork(stem, [block.module for block in view], exits)


def _stem(backbone: nn.Module, view: BlockView) -> nn.Sequential:
    """What comes before the first stage, in the order of registration."""
    stages = {id(block.parent) for block in view}
    children = list(backbone.named_children())
    places = [i for i, (_, child) in enumerate(children) if id(child) in stages]
    if len(places) != len(stages):
        raise _unfit(backbone, "its stages do not hang in the backbone itself")
    if places != list(range(places[0], places[0] + len(places))):
        raise _unfit(backbone, "other layers lie between its stages")
    if not all(_holds_only(children[i][1], view.blocks) for i in places):
        raise _unfit(backbone, "its stages hold more than residual blocks")
    return nn.Sequential(OrderedDict(children[: places[0]]))


def _holds_only(stage: nn.Module, blocks: list[Block]) -> bool:
    own = {id(block.module) for block in blocks}
    return isinstance(stage, nn.Sequential) and all(
        id(child) in own or isinstance(child, nn.Identity) for child in stage.children()
    )


def _unfit(backbone: nn.Module, reason: str) -> UserError:
    return UserError(
        f"optimal_depth cannot put exits on {type(backbone).__name__}, for {reason}; "
        "use a ResNet, such as resnet18_cifar_stem, cifar_resnet20 or wrn_28_10"
    )
