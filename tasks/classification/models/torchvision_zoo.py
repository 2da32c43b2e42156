"""torchvision's classifiers, for any number of input channels and any image size they take."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torchvision
from torch import nn

from tasks.classification.registry import MODELS
from tasks.errors import UserError

_AUXILIARY = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


@cache
def torchvision_names() -> tuple[str, ...]:
    """The names that torchvision gives its classification networks."""
    return tuple(torchvision.models.list_models(module=torchvision.models))


def torchvision_classifier(
    name: str, num_classes: int, in_channels: int, image_size: int, **options: Any
) -> nn.Module:
    """A torchvision classifier with random weights; ``options`` go to its own constructor.

    ``googlenet`` and ``inception_v3`` come without auxiliary heads.
    """
    if name.startswith("vit_"):
        options = {"image_size": image_size, **options}
    options = {**_AUXILIARY.get(name, {}), **options}
    network = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
    return with_channels(network, in_channels)


def with_channels(network: nn.Module, in_channels: int) -> nn.Module:
    """Make the first convolution take ``in_channels``; it keeps its filters, cut or repeated."""
    name, old = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    if old.in_channels == in_channels:
        return network
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        old.kernel_size,
        old.stride,
        old.padding,
        bias=old.bias is not None,
    )
    with torch.no_grad():
        new.weight.copy_(old.weight[:, torch.arange(in_channels) % old.in_channels])
    new.bias = old.bias
    parent, _, key = name.rpartition(".")
    setattr(network.get_submodule(parent), key, new)
    return network


@MODELS.register("resnet{depth}_cifar_stem")
def resnet_cifar_stem(
    depth: int, num_classes: int, in_channels: int, image_size: int, **options: Any
) -> nn.Module:
    """ResNet-18/34/50/101/152 for small images: 3x3 stride-1 stem of 64 channels, no max-pool.

    Raises:
        UserError: torchvision has no ResNet of that depth.
    """
    if f"resnet{depth}" not in torchvision_names():
        raise UserError(f"resnet{depth}_cifar_stem: the depth must be 18, 34, 50, 101 or 152")
    network = torchvision.models.get_model(
        f"resnet{depth}", weights=None, num_classes=num_classes, **options
    )
    network.conv1 = nn.Conv2d(in_channels, 64, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return network
