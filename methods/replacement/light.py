"""Light stand-ins: one synthesised operator with its own norm, activation and shortcut.

Each is built from the block that it stands for: copies of its layers (whose weights are then
synthesised, so that stride, padding, dilation, heads and window shift stay the block's own), fresh
norm layers of the same settings, and the block's own projection shortcut where it has one.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformerBlockV2

from methods.blocks import Block, Parts


class Light(nn.Module):
    """A stand-in that tells the block view what it is."""

    ROLES: ClassVar[Mapping[str, str]] = {}
    """Role of each synthesised layer, as in the block, to the layer's path here."""
    NORMS: ClassVar[tuple[str, ...]] = ("norm",)
    END: ClassVar[str]
    """The module whose output is added to the shortcut."""
    parts: Parts

    def block_parts(self) -> Parts:
        """The parts of this stand-in, for the block view."""
        return self.parts


class LightBasic(Light):
    """``relu(norm(conv(x)) + shortcut(x))``: stands for a basic block of two convolutions."""

    ROLES: ClassVar = {"conv1": "conv"}
    END = "norm"

    def __init__(self, block: Block) -> None:
        super().__init__()
        norm, _ = block.norms.values()
        self.conv = _copy_conv(block, "conv1", carries_stride=True)
        self.norm = fresh(norm)
        self.shortcut = _shortcut(block)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` as the block did."""
        return F.relu(self.norm(self.conv(x)) + self.shortcut(x))


class LightBottleneck(Light):
    """Reduce and expand, both 1x1, without the 3x3 between them: stands for a bottleneck."""

    ROLES: ClassVar = {"conv1": "reduce", "conv3": "expand"}
    NORMS = ("reduce_norm", "expand_norm")
    END = "expand_norm"

    def __init__(self, block: Block) -> None:
        super().__init__()
        norm1, _, norm3 = block.norms.values()
        self.reduce = _copy_conv(block, "conv1", carries_stride=True)
        self.reduce_norm = fresh(norm1)
        self.expand = _copy_conv(block, "conv3")
        self.expand_norm = fresh(norm3)
        self.shortcut = _shortcut(block)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` as the block did."""
        y = F.relu(self.reduce_norm(self.reduce(x)))
        return F.relu(self.expand_norm(self.expand(y)) + self.shortcut(x))


class LightInvertedResidual(Light):
    """Expand and project, both 1x1, without the depthwise: stands for an inverted residual."""

    ROLES: ClassVar = {"expand": "expand", "project": "project"}
    NORMS = ("expand_norm", "project_norm")
    END = "project_norm"

    def __init__(self, block: Block) -> None:
        super().__init__()
        norm1, _, norm3 = block.norms.values()
        self.expand = _copy_conv(block, "expand", carries_stride=True)
        self.expand_norm = fresh(norm1)
        self.project = _copy_conv(block, "project")
        self.project_norm = fresh(norm3)
        self.residual = block.shape_preserving

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` as the block did; the end is linear."""
        y = F.relu6(self.expand_norm(self.expand(x)))
        y = self.project_norm(self.project(y))
        return x + y if self.residual else y


class LightPreact(Light):
    """``shortcut(x) + conv(relu(norm(x)))``: stands for a pre-activation block."""

    ROLES: ClassVar = {"conv1": "conv"}
    END = "conv"

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm = fresh(next(iter(block.norms.values())))
        self.conv = _copy_conv(block, "conv1", carries_stride=True)
        self.shortcut = _shortcut(block)
        self.projects = not block.shape_preserving

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` as the block did; a projection sees the activated input."""
        y = F.relu(self.norm(x))
        return self.shortcut(y if self.projects else x) + self.conv(y)


class LightAttention(Light):
    """``x + drop(attention(norm(x)))``: stands for a transformer block."""

    END = "drop"

    def __init__(self, block: Block) -> None:
        super().__init__()
        path = _transformer_paths(block)["attention"]
        self.norm = fresh(next(iter(block.norms.values())))
        self.attention = copy.deepcopy(block.module.get_submodule(path))
        # OpenMMLab's attention ends in a drop of its own.
        own = "dropout" if block.kind == "vit" else "stochastic_depth"
        self.drop = copy.deepcopy(getattr(block.module, own, nn.Identity()))
        self.post_norm = isinstance(block.module, SwinTransformerBlockV2)

    def forward(self, x: Tensor, *args: object) -> Tensor:
        """Map tokens ``(N, L, C)`` or ``(N, H, W, C)``; ``args`` go to the attention."""
        y = x if self.post_norm else self.norm(x)
        if isinstance(self.attention, nn.MultiheadAttention):
            y, _ = self.attention(y, y, y, need_weights=False)
        else:
            y = self.attention(y, *args)
        return x + self.drop(self.norm(y) if self.post_norm else y)


class LightMLP(Light):
    """``x + drop(mlp(norm(x)))``: stands for a transformer block."""

    END = "drop"

    def __init__(self, block: Block) -> None:
        super().__init__()
        path = _transformer_paths(block)["mlp"]
        self.norm = fresh(list(block.norms.values())[1])
        self.mlp = copy.deepcopy(block.module.get_submodule(path))
        # A ViT's multi-layer perceptron ends in a drop of its own.
        ffn = getattr(block.module, "ffn", None)
        drop = ffn.dropout_layer if ffn else getattr(block.module, "stochastic_depth", None)
        self.drop = copy.deepcopy(drop) if drop is not None else nn.Identity()
        self.post_norm = isinstance(block.module, SwinTransformerBlockV2)

    def forward(self, x: Tensor, *args: object) -> Tensor:
        """Map tokens ``(..., C)``; ``args``, which a block may be called with, are not needed."""
        y = self.norm(self.mlp(x)) if self.post_norm else self.mlp(self.norm(x))
        return x + self.drop(y)


_CONVOLUTIONAL: Mapping[str, type[Light]] = {
    "basic": LightBasic,
    "bottleneck": LightBottleneck,
    "inverted_residual": LightInvertedResidual,
    "preact": LightPreact,
}


def light_roles(kind: str, submodule: str = "attention") -> tuple[str, ...]:
    """The roles whose weights a stand-in has; empty for a kind of block that has no stand-in.

    Args:
        kind: of the block; see :class:`methods.blocks.Parts`.
        submodule: ``attention`` or ``mlp``: the half of a transformer block that is kept.
    """
    if kind in ("vit", "swin"):
        return ("qkv", "proj") if submodule == "attention" else ("fc1", "fc2")
    return tuple(_CONVOLUTIONAL[kind].ROLES) if kind in _CONVOLUTIONAL else ()


def light_block(block: Block, submodule: str = "attention") -> Light:
    """A stand-in for ``block`` with copies of its weights, still to be synthesised.

    ``block`` is left as it is; see :func:`light_roles` for ``submodule``.
    """
    if block.kind in _CONVOLUTIONAL:
        light = _CONVOLUTIONAL[block.kind](block)
        roles = light.ROLES
    else:
        light = LightAttention(block) if submodule == "attention" else LightMLP(block)
        prefix = _transformer_paths(block)[submodule]
        paths = {role: block.parts.role_paths[role] for role in light_roles(block.kind, submodule)}
        roles = {role: submodule + path[len(prefix) :] for role, path in paths.items()}
    light.parts = dataclasses.replace(
        block.parts,
        kind="light",
        norm_paths=light.NORMS,
        role_paths=roles,
        branch_paths=(light.END,),
    )
    return light.train(block.module.training)


def fresh(norm: nn.Module) -> nn.Module:
    """A norm layer of the same type and settings in its initial state."""
    norm = copy.deepcopy(norm)
    norm.reset_parameters()
    return norm


def _copy_conv(block: Block, role: str, carries_stride: bool = False) -> nn.Module:
    """A copy of the block's layer; one of the copies takes over the stride of the whole block."""
    conv = copy.deepcopy(block.roles[role])
    if carries_stride:
        conv.stride = (block.stride, block.stride)
    return conv


def _shortcut(block: Block) -> nn.Module:
    for name in ("downsample", "shortcut"):
        shortcut = getattr(block.module, name, None)
        if shortcut is not None:
            return copy.deepcopy(shortcut)
    return nn.Identity()


def _transformer_paths(block: Block) -> dict[str, str]:
    """Where the two halves of a transformer block are, without their norms."""
    roles = block.parts.role_paths
    # OpenMMLab's feed-forward network adds the shortcut itself: only its layers are wanted.
    mlp = "ffn.layers" if roles["fc1"].startswith("ffn.") else roles["fc1"].split(".")[0]
    return {"attention": roles["qkv"].split(".")[0], "mlp": mlp}
