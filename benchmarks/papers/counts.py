"""Counts of a network by every counting, from shapes alone where that is enough."""

from __future__ import annotations

import copy

import torch
from torch import nn

from benchmarks.meters.operations import COUNTINGS, count_macs
from benchmarks.meters.parameters import disk_size, parameters
from benchmarks.papers.quantity import PLAIN, Quantity
from tasks.classification.models.zoo import build_backbone

BY_OPERATION = tuple(name for name, counting in COUNTINGS.items() if not counting.modules)
"""Countings that fit any network; those by module are of detectors alone."""


def network(arch: str, classes: int, channels: int, size: int) -> nn.Module:
    """The project's network on the meta device: shapes without memory."""
    with torch.device("meta"):
        return build_backbone(arch, classes, channels, size)


def stored_parameters(model: nn.Module) -> Quantity:
    """All parameters of a network."""
    return Quantity({PLAIN: parameters(model).stored})


def operations(model: nn.Module, channels: int, size: int, own: str = PLAIN) -> Quantity:
    """Multiply-adds of one image by every counting of operations; ``own`` is the paper's."""
    image = torch.empty(1, channels, size, size, device="meta")
    return Quantity({name: count_macs(model, image, name) for name in BY_OPERATION}, own)


def state_dict_bytes(model: nn.Module) -> Quantity:
    """Bytes of the state dict; the weights' values do not matter."""
    return Quantity({PLAIN: disk_size(copy.deepcopy(model).to_empty(device="cpu"))})
