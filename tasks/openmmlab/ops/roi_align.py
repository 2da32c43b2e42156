"""RoIAlign with average pooling, as `mmcv._ext` has it."""

from __future__ import annotations

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from .precision import computable

AVERAGE = 1


@torch.no_grad()
def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign (He et al., Mask R-CNN, 2017, section 3).

    Args:
        input: (N, C, H, W) feature map.
        rois: (K, 5): index into N, then x1, y1, x2, y2 in pixels of the image.
        output: (K, C, aligned_height, aligned_width), written in place.
        argmax_y: of max pooling, unused.
        argmax_x: of max pooling, unused.
        aligned_height: bins along the height.
        aligned_width: bins along the width.
        spatial_scale: feature map pixels per image pixel.
        sampling_ratio: samples along each side of a bin; 0 or less: as many as it has pixels.
        pool_mode: 1 for the average of the samples.
        aligned: shift by half a pixel, so that a pixel's value lies at its centre.

    Raises:
        NotImplementedError: `pool_mode` is 0, the maximum of the samples.
    """
    _refuse_max(pool_mode)
    features = computable(input)
    output.copy_(
        torch.ops.torchvision.roi_align(
            features,
            rois.to(features.dtype),
            spatial_scale,
            aligned_height,
            aligned_width,
            sampling_ratio,
            aligned,
        )
    )


@torch.no_grad()
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """The gradient of `roi_align_forward` with respect to `input`, written into `grad_input`.

    Args:
        grad_output: (K, C, aligned_height, aligned_width).
        rois: as in `roi_align_forward`.
        argmax_y: of max pooling, unused.
        argmax_x: of max pooling, unused.
        grad_input: (N, C, H, W), written in place.
        aligned_height: as in `roi_align_forward`.
        aligned_width: as in `roi_align_forward`.
        spatial_scale: as in `roi_align_forward`.
        sampling_ratio: as in `roi_align_forward`.
        pool_mode: as in `roi_align_forward`.
        aligned: as in `roi_align_forward`.

    Raises:
        NotImplementedError: `pool_mode` is 0, the maximum of the samples.
    """
    _refuse_max(pool_mode)
    grad = computable(grad_output)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad,
            rois.to(grad.dtype),
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def _refuse_max(pool_mode: int) -> None:
    if pool_mode != AVERAGE:
        raise NotImplementedError(
            "RoIAlign with pool_mode='max' has no stand-in here: use pool_mode='avg'"
        )
