"""Swin Transformers (Liu 2021, arXiv 2103.14030): torchvision's, and mmdet's and mmseg's."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torchvision.models.swin_transformer import SwinTransformer, SwinTransformerBlock

from methods.blocks.view import BlockView, Parts, build_view, register_view

_TORCHVISION_ROLES = {"qkv": "attn.qkv", "proj": "attn.proj", "fc1": "mlp.0", "fc2": "mlp.3"}
_OPENMMLAB_ROLES = {
    "qkv": "attn.w_msa.qkv",
    "proj": "attn.w_msa.proj",
    "fc1": "ffn.layers.0.0",
    "fc2": "ffn.layers.1",
}


@register_view(SwinTransformer)
def swin_view(backbone: SwinTransformer) -> BlockView:
    """Stages alternate with patch merging: they are the Sequentials after the patch embedding."""
    children = list(backbone.features.children())[1:]
    stages = [child for child in children if isinstance(child, nn.Sequential)]
    places = [[(stage, key) for key, _ in stage.named_children()] for stage in stages]
    return build_view(backbone, places, describe)


def _is_openmmlab_swin(backbone: nn.Module) -> bool:
    stages = getattr(backbone, "stages", None)
    return type(backbone).__name__ == "SwinTransformer" and isinstance(stages, nn.ModuleList)


@register_view(_is_openmmlab_swin)
def openmmlab_swin_view(backbone: nn.Module) -> BlockView:
    """Stages hold their blocks in a list, and their patch merging beside it."""
    places = [
        [(stage.blocks, key) for key, _ in stage.blocks.named_children()]
        for stage in backbone.stages
    ]
    return build_view(backbone, places, describe_openmmlab)


def describe(block: nn.Module) -> Parts | None:
    """The parts of torchvision's block; one stochastic depth module ends both branches."""
    if not isinstance(block, SwinTransformerBlock):
        return None
    return _parts(block.attn.qkv, _TORCHVISION_ROLES, ("stochastic_depth",))


def describe_openmmlab(block: nn.Module) -> Parts | None:
    """The parts of mmdet's and mmseg's block, known by its attention and feed-forward network."""
    if not {"norm1", "attn", "norm2", "ffn"} <= {name for name, _ in block.named_children()}:
        return None
    return _parts(block.attn.w_msa.qkv, _OPENMMLAB_ROLES, ("attn.drop", "ffn.dropout_layer"))


def _parts(qkv: nn.Linear, roles: Mapping[str, str], branch_ends: tuple[str, ...]) -> Parts:
    return Parts(
        kind="swin",
        in_channels=qkv.in_features,
        out_channels=qkv.in_features,
        stride=1,
        norm_paths=("norm1", "norm2"),
        role_paths=roles,
        branch_paths=branch_ends,
    )
