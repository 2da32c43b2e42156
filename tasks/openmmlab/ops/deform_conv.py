"""Deformable convolution with and without a mask, as `mmcv._ext` has it.

Every function writes its results in place. The parameters `ones` and `columns` are buffers of the
compiled ops, unused here; the arguments of the geometry come by name, as mmcv's Python half passes
them. Shapes: input (N, C, H, W), weight (O, C / groups, kh, kw), offset (N, 2 D kh kw, H', W') with
the vertical before the horizontal shift of each kernel element, mask (N, D kh kw, H', W'), output
(N, O, H', W'), for D deformable groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from .precision import computable

# Names in torchvision's order: stride, padding and dilation (height, width), groups of the
# weight, groups of the offset. The two ops of mmcv name the same things differently.
MODULATED = [
    *("stride_h", "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w"),
    *("group", "deformable_group"),
]
PLAIN = ["dH", "dW", "padH", "padW", "dilationH", "dilationW", "group", "deformable_group"]


@torch.no_grad()
def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Modulated deformable convolution (Zhu et al., Deformable ConvNets v2, 2019, equation 1)."""
    tensors = (input, weight, offset, mask, bias if with_bias else _no_bias(weight))
    output.copy_(_forward(tensors, _ordered(geometry, MODULATED), use_mask=True))


@torch.no_grad()
def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    with_bias: bool,
    **geometry: int,
) -> None:
    """The gradients of `modulated_deform_conv_forward`; without a bias, `grad_bias` is left."""
    tensors = (input, weight, offset, mask, bias if with_bias else _no_bias(weight))
    grads = _backward(grad_output, tensors, _ordered(geometry, MODULATED), use_mask=True)
    targets = (grad_input, grad_weight, grad_offset, grad_mask)
    for target, grad in zip(targets, grads, strict=False):
        target.copy_(grad)
    if with_bias:
        grad_bias.copy_(grads[4])


@torch.no_grad()
def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    im2col_step: int,
    **geometry: int,
) -> None:
    """Deformable convolution (Dai et al., 2017, equation 2), without mask and bias."""
    tensors = (input, weight, offset, _no_mask(input), _no_bias(weight))
    output.copy_(_forward(tensors, _ordered(geometry, PLAIN), use_mask=False))


@torch.no_grad()
def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    im2col_step: int,
    **geometry: int,
) -> None:
    """The gradients of `deform_conv_forward` with respect to input and offset."""
    tensors = (input, weight, offset, _no_mask(input), _no_bias(weight))
    grads = _backward(grad_output, tensors, _ordered(geometry, PLAIN), use_mask=False)
    grad_input.copy_(grads[0])
    grad_offset.copy_(grads[2])


@torch.no_grad()
def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float,
    im2col_step: int,
    **geometry: int,
) -> None:
    """The gradient of `deform_conv_forward` by the weight, times `scale`, added as mmcv does."""
    # The gradient by the weight does not depend on the weight's values.
    weight = torch.zeros_like(grad_weight)
    tensors = (input, weight, offset, _no_mask(input), _no_bias(weight))
    grads = _backward(grad_output, tensors, _ordered(geometry, PLAIN), use_mask=False)
    grad_weight.add_(grads[1], alpha=scale)


def _ordered(geometry: dict[str, int], names: list[str]) -> list[int]:
    return [geometry[name] for name in names]


def _no_bias(weight: Tensor) -> Tensor:
    return weight.new_zeros(weight.shape[0])


def _no_mask(input: Tensor) -> Tensor:
    return input.new_zeros(input.shape[0], 1)


def _forward(tensors: Sequence[Tensor], geometry: Sequence[int], use_mask: bool) -> Tensor:
    op = torch.ops.torchvision.deform_conv2d
    return op(*map(computable, tensors), *geometry, use_mask)


def _backward(
    grad_output: Tensor, tensors: Sequence[Tensor], geometry: Sequence[int], use_mask: bool
) -> tuple[Tensor, ...]:
    op = torch.ops.torchvision._deform_conv2d_backward
    return op(*map(computable, (grad_output, *tensors)), *geometry, use_mask)
