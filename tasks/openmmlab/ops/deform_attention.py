"""Multi-scale deformable attention, as `mmcv._ext` has it, through mmcv's own Python version.

mmcv calls the Python version on a CPU and the compiled one on a GPU: this lets Deformable DETR
and its like run on a GPU without compiled code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .precision import computable


@torch.no_grad()
def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Attention over sampled points (Zhu et al., Deformable DETR, 2021, equation 3).

    Args:
        value: (N, sum of H_l W_l, heads, C / heads).
        value_spatial_shapes: (levels, 2), H_l and W_l.
        value_level_start_index: (levels,), follows from the shapes, unused.
        sampling_locations: (N, queries, heads, levels, points, 2), x and y in [0, 1].
        attention_weights: (N, queries, heads, levels, points).
        im2col_step: of the compiled op, unused.

    Returns:
        (N, queries, C), of the dtype of `value`.
    """
    tensors = map(computable, (value, sampling_locations, attention_weights))
    return _attend(value_spatial_shapes, *tensors).to(value.dtype)


@torch.no_grad()
def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """The gradients of `ms_deform_attn_forward`, written in place; the forward is run again."""
    inputs = [
        computable(tensor).detach().requires_grad_()
        for tensor in (value, sampling_locations, attention_weights)
    ]
    with torch.enable_grad():
        output = _attend(value_spatial_shapes, *inputs)
    grads = torch.autograd.grad(output, inputs, computable(grad_output))
    targets = (grad_value, grad_sampling_loc, grad_attn_weight)
    for target, grad in zip(targets, grads, strict=True):
        target.copy_(grad)


def _attend(shapes: Tensor, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    # Imported on the first call: mmcv.ops is importing this module's home when it is loaded.
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)
