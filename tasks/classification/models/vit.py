"""Small vision transformers, built of torchvision's blocks."""

from __future__ import annotations

from torch import nn
from torchvision.models import VisionTransformer

from tasks.classification.models.torchvision_zoo import with_channels
from tasks.classification.registry import MODELS
from tasks.errors import UserError


@MODELS.register("vit_tiny")
def vit_tiny(
    num_classes: int, in_channels: int, image_size: int, patch_size: int | None = None
) -> nn.Module:
    """Vision transformer of width 192, 3 heads, 12 layers; option ``patch_size``.

    Source: Touvron et al. 2021, "Training data-efficient image transformers", table 1 (DeiT-Ti).
    """
    return _vit(192, 3, num_classes, in_channels, image_size, patch_size)


@MODELS.register("vit_small")
def vit_small(
    num_classes: int, in_channels: int, image_size: int, patch_size: int | None = None
) -> nn.Module:
    """Vision transformer of width 384, 6 heads, 12 layers; option ``patch_size``.

    Source: Touvron et al. 2021, "Training data-efficient image transformers", table 1 (DeiT-S).
    """
    return _vit(384, 6, num_classes, in_channels, image_size, patch_size)


def _vit(
    width: int,
    heads: int,
    num_classes: int,
    in_channels: int,
    image_size: int,
    patch_size: int | None,
) -> nn.Module:
    patch_size = patch_size or default_patch(image_size)
    if image_size % patch_size:
        raise UserError(
            f"patch_size {patch_size} does not divide the image size {image_size}; choose another"
        )
    network = VisionTransformer(
        image_size=image_size,
        patch_size=patch_size,
        num_layers=12,
        num_heads=heads,
        hidden_dim=width,
        mlp_dim=4 * width,
        num_classes=num_classes,
    )
    return with_channels(network, in_channels)


def default_patch(image_size: int) -> int:
    """16 pixels for pictures, 4 for images of 20 to 100 pixels, 2 below."""
    if image_size > 100:
        return 16
    return 4 if image_size >= 20 else 2
