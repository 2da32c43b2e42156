"""A network by its name: the project's own first, then any of torchvision's classifiers."""

from __future__ import annotations

from typing import Any

from torch import nn

from tasks.classification.models.torchvision_zoo import torchvision_classifier, torchvision_names
from tasks.classification.registry import MODELS
from tasks.errors import UserError, unknown_name
from tasks.registry import build, match


def build_backbone(
    name: str,
    num_classes: int,
    in_channels: int,
    image_size: int,
    options: dict[str, Any] | None = None,
) -> nn.Module:
    """The network ``name`` with random weights, on the CPU.

    Raises:
        UserError: no such network or option (the message names the nearest one).
    """
    given = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    reserved = given.keys() & (options or {}).keys()
    if reserved:
        raise UserError(f"{name}: {', '.join(sorted(reserved))} follows from the data set")
    given |= options or {}
    if any(match(pattern, name) is not None for pattern in MODELS.names()):
        factory, values = MODELS.find(name)
        return build(f"network {name}", factory, {**given, **values})
    if name in torchvision_names():
        return build(f"network {name}", torchvision_classifier, {"name": name, **given})
    raise unknown_name("network", name, [*MODELS.names(), *torchvision_names()])
