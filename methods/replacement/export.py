"""Fold synthesised weights into plain layers that own them."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

from methods.replacement.norms import forget_own_statistics
from methods.synthesis import SynthesisedLayer, fold

Model = TypeVar("Model", bound=nn.Module)


def export(model: Model) -> Model:
    """A copy of ``model`` whose synthesised layers own their present weights.

    The copy gives the same outputs, knows no neighbours and no coefficients, and consists of plain
    layers: with the full operator blocks of their original class, with the light one small
    modules. ``model`` itself is not changed.
    """
    exported = copy.deepcopy(model)
    for layer in list(exported.modules()):
        if isinstance(layer, SynthesisedLayer):
            fold(layer)
    for layer in exported.modules():
        forget_own_statistics(layer)
        for name in ("parameter_fusion", "channel_projection"):
            layer._modules.pop(name, None)
    return exported
