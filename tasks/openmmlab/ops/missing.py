"""Ops that a model needs and that have no stand-in, found before training starts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .finder import EXTENSION, PROVIDED, StandIn

if TYPE_CHECKING:
    from torch import nn

# The first compiled function that a layer class of mmcv.ops calls, on some device. Classes that
# derive from one of these need the same; layers that are plain torch are not listed.
CALLS = {
    "BezierAlign": "bezier_align_forward",
    "BorderAlign": "border_align_forward",
    "CARAFE": "carafe_forward",
    "CARAFENaive": "carafe_naive_forward",
    "CARAFEPack": "carafe_forward",
    "Correlation": "correlation_forward",
    "DFPSSampler": "furthest_point_sampling_forward",
    "DeformConv2d": "deform_conv_forward",
    "DeformRoIPool": "deform_roi_pool_forward",
    "DynamicScatter": "dynamic_point_to_voxel_forward",
    "FFPSSampler": "furthest_point_sampling_with_dist_forward",
    "FSSampler": "furthest_point_sampling_with_dist_forward",
    "FusedBiasLeakyReLU": "fused_bias_leakyrelu",
    "MaskedConv2d": "masked_im2col_forward",
    "ModulatedDeformConv2d": "modulated_deform_conv_forward",
    "MultiScaleDeformableAttention": "ms_deform_attn_forward",
    "PSAMask": "psamask_forward",
    "PrRoIPool": "prroi_pool_forward",
    "QueryAndGroup": "ball_query_forward",
    "RiRoIAlignRotated": "riroi_align_rotated_forward",
    "RoIAlign": "roi_align_forward",
    "RoIAlignRotated": "roi_align_rotated_forward",
    "RoIAwarePool3d": "roiaware_pool3d_forward",
    "RoIPointPool3d": "roipoint_pool3d_forward",
    "RoIPool": "roi_pool_forward",
    "SAConv2d": "deform_conv_forward",
    "SigmoidFocalLoss": "sigmoid_focal_loss_forward",
    "SoftmaxFocalLoss": "softmax_focal_loss_forward",
    "SparseConvolution": "indice_conv_forward",
    "SparseMaxPool": "indice_maxpool_forward",
    "SyncBatchNorm": "sync_bn_forward_mean",
    "TINShift": "tin_shift_forward",
    "Voxelization": "hard_voxelize_forward",
}


def missing_ops(model: nn.Module) -> list[str]:
    """Return what the layers of `model` call and the stand-in lacks, as ``"op (layer class)"``.

    The list is sorted and empty with compiled mmcv. It covers layers, not functions that a model
    calls without one, such as `nms_match` in mmdet's PISA samplers: those raise
    `NotImplementedError` when they are called.
    """
    if not isinstance(sys.modules.get(EXTENSION), StandIn):
        return []
    return sorted({name for layer in model.modules() for name in _missing(layer)})


def _missing(layer: nn.Module) -> list[str]:
    for cls in type(layer).__mro__:
        if cls.__module__.split(".")[:2] == ["mmcv", "ops"] and cls.__name__ in CALLS:
            op = CALLS[cls.__name__]
            if op not in PROVIDED:
                return [f"{op} ({cls.__name__})"]
            if cls.__name__ == "RoIAlign" and layer.pool_mode != "avg":
                return [f"{op} with pool_mode='{layer.pool_mode}' (RoIAlign)"]
            return []
    return []
