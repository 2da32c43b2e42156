"""What costing runs: a detector or segmentor on an input tensor, without data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.fx.experimental._config as fx_config
from mmengine.structures import BaseDataElement, InstanceData
from torch import nn

MASKED = 100
"""Proposals that mmdet masks in mode "tensor"."""


def tensor_forward(model: nn.Module, inputs: torch.Tensor) -> object:
    """The network without post-processing: what operations are counted of.

    A two-stage detector refines as many fixed proposals an image as it would keep at most
    (``test_cfg.rpn.max_per_img``) instead of those that its weights choose, so that every model of
    an architecture does the same work. Mask R-CNN masks the first 100 of each image, Cascade Mask
    R-CNN all.

    Args:
        model: an mmdet detector or an mmseg segmentor, in evaluation mode.
        inputs: normalised images, shape (N, 3, H, W); on the meta device with the model, shapes
            alone are computed.
    """
    with fixed_proposals(model, inputs):
        return model(inputs, empty_samples(inputs), mode="tensor")


def predict_forward(model: nn.Module, inputs: torch.Tensor) -> object:
    """The whole inference, from normalised images to boxes, masks or maps: what latency is of.

    Args:
        model: an mmdet detector or an mmseg segmentor, in evaluation mode.
        inputs: normalised images, shape (N, 3, H, W).
    """
    return model(inputs, empty_samples(inputs), mode="predict")


def empty_samples(inputs: torch.Tensor) -> list[BaseDataElement]:
    """A data sample an image, of images that were neither resized nor padded and show nothing."""
    height, width = inputs.shape[-2:]
    shapes = ("img_shape", "ori_shape", "pad_shape", "batch_input_shape")
    metainfo = {
        **dict.fromkeys(shapes, (height, width)),
        "scale_factor": (1.0, 1.0),
        "border": (0, height, 0, width),
    }
    nothing = InstanceData(
        bboxes=inputs.new_empty(0, 4), labels=inputs.new_empty(0, dtype=torch.long)
    )
    return [BaseDataElement(metainfo=metainfo, gt_instances=nothing) for _ in inputs]


@contextmanager
def fixed_proposals(model: nn.Module, inputs: torch.Tensor) -> Iterator[None]:
    """Inside, a region proposal network runs, and ``proposals`` stand for what it finds."""
    rpn: Any = getattr(model, "rpn_head", None)
    settings = (getattr(model, "test_cfg", None) or {}).get("rpn")
    with ExitStack() as scope:
        if settings and hasattr(rpn, "predict_by_feat"):
            found = proposals(settings["max_per_img"], inputs)
            rpn.predict_by_feat = lambda *outputs, **options: [
                InstanceData(bboxes=found) for _ in inputs
            ]
            scope.callback(delattr, rpn, "predict_by_feat")
            scope.enter_context(
                masked_image_by_image(getattr(model, "roi_head", None), found, inputs)
            )
        if inputs.is_meta:
            # Which proposals belong to which feature level depends on their values.
            scope.enter_context(fx_config.patch(meta_nonzero_assume_all_nonzero=True))
        yield


@contextmanager
def masked_image_by_image(head: Any, found: torch.Tensor, inputs: torch.Tensor) -> Iterator[None]:
    """Inside, a mask head sees as many proposals of each image as it sees of a single one.

    In mode "tensor" mmdet takes the first 100 of the whole batch.
    """
    from mmdet.models.roi_heads import StandardRoIHead
    from mmdet.structures.bbox import bbox2roi

    if not isinstance(head, StandardRoIHead) or not head.with_mask:
        yield
        return
    forward = head._mask_forward
    rois = bbox2roi([found[:MASKED]] * len(inputs))
    head._mask_forward = lambda x, _: forward(x, rois)
    try:
        yield
    finally:
        del head._mask_forward


def proposals(count: int, inputs: torch.Tensor) -> torch.Tensor:
    """Boxes of an eighth to the whole of the image in turn: every feature level gets some.

    Returns:
        (x1, y1, x2, y2) in pixels, shape (count, 4), with the type and device of ``inputs``.
    """
    size = inputs.new_tensor([inputs.shape[-1], inputs.shape[-2]])
    sides = size * (0.5 ** (torch.arange(count, device=inputs.device) % 4))[:, None]
    start = (size - sides) * torch.linspace(0, 1, count, device=inputs.device)[:, None]
    return torch.cat((start, start + sides), dim=1)
