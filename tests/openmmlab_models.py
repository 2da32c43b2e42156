"""Tiny detectors and segmentors of mmdet and mmsegmentation, and batches for them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData
from torch import nn

from tasks.openmmlab.scope import openmmlab

SIDE = 64
CLASSES = 3
RESNET = {
    "depth": 50,
    "base_channels": 8,
    "norm_eval": False,
    "frozen_stages": -1,
    "zero_init_residual": False,
}
DILATED = {"strides": (1, 2, 1, 1), "dilations": (1, 1, 2, 4)}
SWIN = {
    "embed_dims": 12,
    "depths": (2, 2, 4, 2),
    "num_heads": (1, 2, 3, 3),
    "window_size": 4,
    "drop_path_rate": 0.0,
}


def backbone(scope: str, kind: str, **options: Any) -> nn.Module:
    """A backbone on its initial weights."""
    with openmmlab(scope):
        network = MODELS.build({"type": kind, **options})
        network.init_weights()
    return network


def resnet(scope: str = "mmdet", kind: str = "ResNet", **options: Any) -> nn.Module:
    """A ResNet-50 of 8 channels."""
    stem = {"stem_channels": 8} if scope == "mmseg" else {}
    return backbone(scope, kind, **{**RESNET, **stem, **options})


def swin(scope: str = "mmdet", **options: Any) -> nn.Module:
    """A Swin Transformer of 2, 2, 4 and 2 blocks."""
    return backbone(scope, "SwinTransformer", **{**SWIN, **options})


def retinanet(seed: int = 0, swin: bool = False, **options: Any) -> BaseModel:
    """RetinaNet with a feature pyramid; ``options`` are the backbone's."""
    model = _base("mmdet", "retinanet_r50_fpn")
    widths = _set_backbone(model, swin, options)
    model.neck.update(in_channels=widths, out_channels=16)
    model.bbox_head.update(num_classes=CLASSES, in_channels=16, feat_channels=16, stacked_convs=1)
    return _built("mmdet", model, seed)


def mask_rcnn(seed: int = 0, swin: bool = False, **options: Any) -> BaseModel:
    """Mask R-CNN with a feature pyramid; ``options`` are the backbone's."""
    model = _base("mmdet", "mask-rcnn_r50_fpn")
    widths = _set_backbone(model, swin, options)
    model.neck.update(in_channels=widths, out_channels=16)
    model.rpn_head.update(in_channels=16, feat_channels=16)
    head = model.roi_head
    head.bbox_roi_extractor.out_channels = head.mask_roi_extractor.out_channels = 16
    head.bbox_head.update(in_channels=16, fc_out_channels=16, num_classes=CLASSES)
    head.mask_head.update(in_channels=16, conv_out_channels=16, num_convs=1, num_classes=CLASSES)
    model.train_cfg.rpn_proposal.max_per_img = model.test_cfg.rpn.max_per_img = 20
    return _built("mmdet", model, seed)


def fcn(seed: int = 0, slide: bool = False, **options: Any) -> BaseModel:
    """FCN on a dilated ResNet-50 (V1c) with an auxiliary head, and no neck."""
    model = _base("mmseg", "fcn_r50-d8")
    widths = _set_backbone(model, False, {**DILATED, "stem_channels": 8, **options})
    _set_heads(model, widths)
    if slide:
        model.test_cfg = {"mode": "slide", "crop_size": (48, 48), "stride": (16, 16)}
    return _built("mmseg", model, seed)


def upernet(seed: int = 0, **options: Any) -> BaseModel:
    """UPerNet on a Swin Transformer, without a neck."""
    model = _base("mmseg", "upernet_swin")
    widths = _set_backbone(model, True, options)
    _set_heads(model, widths)
    model.decode_head.in_channels = widths
    return _built("mmseg", model, seed)


def _base(scope: str, name: str) -> Any:
    (folder,) = importlib.util.find_spec(scope).submodule_search_locations
    return Config.fromfile(Path(folder) / f".mim/configs/_base_/models/{name}.py").model


def _set_backbone(model: Any, swin: bool, options: dict[str, Any]) -> list[int]:
    """Set the backbone small; return the widths of its stages."""
    if swin:
        model.backbone = {"type": "SwinTransformer", **SWIN, **options}
        return [12 * 2**stage for stage in range(4)]
    model.backbone.pop("init_cfg", None)
    model.backbone.update({**RESNET, **options})
    if model.backbone.norm_cfg.type == "SyncBN":
        model.backbone.norm_cfg.type = "BN"
    return [32 * 2**stage for stage in range(4)]


def _set_heads(model: Any, widths: list[int]) -> None:
    model.pop("pretrained", None)
    model.data_preprocessor.size = (SIDE, SIDE)
    norm = {"type": "BN", "requires_grad": True}
    model.decode_head.update(
        in_channels=widths[-1], channels=16, num_classes=CLASSES, norm_cfg=norm
    )
    model.auxiliary_head.update(
        in_channels=widths[2], channels=16, num_classes=CLASSES, norm_cfg=norm
    )


def _built(scope: str, config: Any, seed: int) -> BaseModel:
    torch.manual_seed(seed)
    with openmmlab(scope):
        model = MODELS.build(config)
        model.init_weights()
    return model


def batch(model: BaseModel, images: int = 2, seed: int = 1, side: int = SIDE) -> dict[str, Any]:
    """A batch as mmdet's or mmseg's data sets and ``pseudo_collate`` give it."""
    generator = torch.Generator().manual_seed(seed)
    inputs = [
        torch.randint(0, 256, (3, side, side), generator=generator, dtype=torch.uint8)
        for _ in range(images)
    ]
    sample = _segmented if hasattr(model, "decode_head") else _detected
    shapes = dict.fromkeys(("img_shape", "ori_shape", "pad_shape"), (side, side))
    metainfo = {**shapes, "scale_factor": (1.0, 1.0)}
    return {"inputs": inputs, "data_samples": [sample(generator, metainfo) for _ in inputs]}


def _detected(generator: torch.Generator, metainfo: dict[str, Any]) -> Any:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    side = metainfo["img_shape"][0]
    corners = torch.rand(3, 2, generator=generator) * side / 2
    sizes = 12 + torch.rand(3, 2, generator=generator) * (side / 2 - 12)
    boxes = torch.cat([corners, corners + sizes], 1)
    masks = np.zeros((3, side, side), np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    labels = torch.randint(0, CLASSES, (3,), generator=generator)
    return DetDataSample(
        metainfo=metainfo,
        gt_instances=InstanceData(
            bboxes=boxes, labels=labels, masks=BitmapMasks(masks, side, side)
        ),
        ignored_instances=InstanceData(bboxes=torch.empty(0, 4), labels=torch.empty(0).long()),
    )


def _segmented(generator: torch.Generator, metainfo: dict[str, Any]) -> Any:
    from mmseg.structures import SegDataSample

    shape = (1, *metainfo["img_shape"])
    labels = torch.randint(0, CLASSES, shape, generator=generator)
    return SegDataSample(metainfo=metainfo, gt_sem_seg=PixelData(data=labels))
