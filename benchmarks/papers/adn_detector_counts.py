"""Adaptive depth networks as backbones of detectors: operations of table 5 and of the README.

The two tables were counted in different ways. Faster and Mask R-CNN's figures are those of mmdet
2's ``get_flops.py`` at its default input. RetinaNet's is the one that torchvision ships with its
weights: multiply-adds alone, of its own model, at the size that it resizes a square picture to.
"""

from __future__ import annotations

from functools import cache

import torch
from mmengine.registry import MODELS
from torch import nn
from torchvision.models.detection import RetinaNet, retinanet_resnet50_fpn

from benchmarks.meters.operations import count_macs
from benchmarks.papers.quantity import PLAIN, Quantity
from methods.adaptive_depth import export, make_skippable
from methods.adaptive_depth.split import split_stages
from methods.adaptive_depth.subnets import parse_flags
from methods.blocks import block_view
from tasks.openmmlab.config import load_config
from tasks.openmmlab.forward import tensor_forward
from tasks.openmmlab.scope import openmmlab

MMDET = {
    "faster_rcnn_r50_fpn": "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "mask_rcnn_r50_fpn": "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
}
MMDET_INPUT = (800, 1280)
"""Height and width that mmdet 2's ``get_flops.py`` takes unless told otherwise."""

TORCHVISION_INPUT = (800, 800)
"""What torchvision's detectors resize a square picture to."""


@cache
def macs(arch: str, name: str) -> Quantity | None:
    """Multiply-adds of a detector with one sub-network as backbone; None for an unknown one."""
    if arch in MMDET:
        return _of_mmdet(arch, name)
    if arch == "retinanet_r50_fpn":
        return _of_torchvision(name)
    return None


def _of_mmdet(arch: str, name: str) -> Quantity:
    with openmmlab("mmdet"), torch.device("meta"):
        model = MODELS.build(load_config(MMDET[arch], "mmdet").model)
    model = _subnetwork(model, name)
    image = torch.empty(1, 3, *MMDET_INPUT, device="meta")
    return Quantity(
        {c: count_macs(model, image, c, tensor_forward) for c in ("mmcv", PLAIN, "fvcore")},
        own="mmcv",
        remark=f"of mmdet's model at {_written(MMDET_INPUT)} with 1,000 proposals",
    )


def _of_torchvision(name: str) -> Quantity:
    with torch.device("meta"):
        model = retinanet_resnet50_fpn(weights=None, weights_backbone=None)
    model.backbone.body = _subnetwork(model.backbone.body, name)
    image = torch.empty(1, 3, *TORCHVISION_INPUT, device="meta")
    return Quantity(
        {c: count_macs(model, image, c, _retinanet_forward) for c in (PLAIN, "fvcore")},
        remark=f"of torchvision's model at {_written(TORCHVISION_INPUT)}; table 5 is counted of "
        "other models, at another size and by another counting",
    )


def _subnetwork(model: nn.Module, name: str) -> nn.Module:
    """A detector or backbone, its backbone reduced to one sub-network."""
    view = block_view(model)
    stages = split_stages(view)
    make_skippable(view, stages)
    return export(model, parse_flags(name, sum(stage.split for stage in stages)))


def _retinanet_forward(model: RetinaNet, images: torch.Tensor) -> object:
    """What multiplies in it: neither the resizing before nor the boxes after."""
    return model.head(list(model.backbone(images).values()))


def _written(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
