"""Vision Transformers (Dosovitskiy 2021, arXiv 2010.11929) as torchvision builds them."""

from __future__ import annotations

from torch import nn
from torchvision.models.vision_transformer import EncoderBlock, VisionTransformer

from methods.blocks.view import BlockView, Parts, build_view, register_view


@register_view(VisionTransformer)
def vit_view(backbone: VisionTransformer) -> BlockView:
    """All encoder layers work at one width and resolution: one stage."""
    layers = backbone.encoder.layers
    return build_view(backbone, [[(layers, key) for key, _ in layers.named_children()]], describe)


def describe(block: nn.Module) -> Parts | None:
    """The parts of an encoder layer; its shortcuts go round attention and round the MLP.

    Role ``qkv`` is the attention module, whose own weights are ``in_proj_weight`` and
    ``in_proj_bias``.
    """
    if not isinstance(block, EncoderBlock):
        return None
    width = block.self_attention.embed_dim
    return Parts(
        kind="vit",
        in_channels=width,
        out_channels=width,
        stride=1,
        norm_paths=("ln_1", "ln_2"),
        role_paths={
            "qkv": "self_attention",
            "proj": "self_attention.out_proj",
            "fc1": "mlp.0",
            "fc2": "mlp.3",
        },
        branch_paths=("dropout", "mlp"),
    )
