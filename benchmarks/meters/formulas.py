"""What an operation costs in multiply-adds.

A formula is ``formula(args, kwargs, out) -> int``, with the operation's own arguments. Matrix
products and attention take theirs from ``torch.utils.flop_counter``, halved.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten

Formula = Callable[[tuple[Any, ...], dict[str, Any], Any], int]


def register_formula(operation: Any, formula: Formula | int) -> None:
    """Give an operation its multiply-adds.

    Args:
        operation: an operator packet such as ``torch.ops.mylib.scale``.
        formula: called with the operation's arguments, keyword arguments and output; or a
            constant, 0 for an operation without multiply-adds.
    """
    FORMULAS[operation] = formula if callable(formula) else lambda args, kwargs, out: formula


def _from_torch(operation: Any) -> Formula:
    flops = flop_registry[operation]

    def formula(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
        return flops(*args, **kwargs, out_val=out) // 2

    return formula


def _convolution_macs(
    inputs: torch.Tensor, weight: torch.Tensor, out: torch.Tensor, transposed: bool
) -> int:
    # Every weight meets every output position once (input position if transposed); the weight's
    # second dimension is already divided by the groups.
    positions = (inputs if transposed else out).shape[2:]
    return inputs.shape[0] * prod(positions) * weight.numel()


def _convolution(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    return _convolution_macs(args[0], args[1], out, transposed=args[6])


def _convolution_backward(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    # torch.utils.flop_counter forgets the groups in the weight's gradient; each of the two
    # gradients costs what the forward pass did.
    grad_out, inputs, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
    once = _convolution_macs(inputs, weight, grad_out, transposed)
    return once * (bool(wanted[0]) + bool(wanted[1]))


def _deform_convolution(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    return _convolution_macs(args[0], args[1], out, transposed=False)


def _deform_convolution_backward(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    grad_out, inputs, weight = args[:3]
    return 2 * _convolution_macs(inputs, weight, grad_out, transposed=False)


def _matrix_vector(matrix: int) -> Formula:
    return lambda args, kwargs, out: args[matrix].numel()


def _attention(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    """Two matrix products, Q K^T and the weights times V, masked entries included."""
    query, key, value = args[:3]
    pairs = query.shape[:-1].numel() * key.shape[-2]
    return pairs * (query.shape[-1] + value.shape[-1])


def _distances(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    """Squared differences of every pair; other norms than the Euclidean multiply nothing."""
    first, second, p = args[:3]
    return first.numel() * second.shape[-2] if p == 2 else 0


def _distances_backward(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    _, first, second, p = args[:4]
    return first.numel() * second.shape[-2] if p == 2 else 0


def _quantised_convolution(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    weight = args[1].unpack()[0]
    return _convolution_macs(args[0], weight, out, transposed=False)


def _quantised_linear(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    return out.numel() * args[0].shape[-1]


_fused_attention_backward = _from_torch(aten._scaled_dot_product_flash_attention_backward)

FORMULAS: dict[Any, Formula] = {
    operation: _from_torch(operation)
    for operation in flop_registry
    if isinstance(operation, torch._ops.OpOverloadPacket)
}
FORMULAS |= {
    aten.convolution: _convolution,
    aten._convolution: _convolution,
    aten.convolution_backward: _convolution_backward,
    aten.mv: _matrix_vector(0),
    aten.addmv: _matrix_vector(1),
    aten.dot: _matrix_vector(0),
    aten.vdot: _matrix_vector(0),
    aten.addmm_: _from_torch(aten.addmm),
    aten.baddbmm_: _from_torch(aten.baddbmm),
    aten.addmv_: _matrix_vector(1),
    aten.addr: lambda args, kwargs, out: out.numel(),
    aten._addmm_activation: _from_torch(aten.addmm),
    aten._cdist_forward: _distances,
    aten._cdist_backward: _distances_backward,
    aten.scaled_dot_product_attention: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_fused_attention_overrideable: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _fused_attention_backward,
    aten._scaled_dot_product_fused_attention_overrideable_backward: _fused_attention_backward,
    # By name, because torchvision may not have been imported.
    "torchvision.deform_conv2d": _deform_convolution,
    "torchvision._deform_conv2d_backward": _deform_convolution_backward,
    **{
        f"quantized.conv{n}d{relu}": _quantised_convolution
        for n in (1, 2, 3)
        for relu in ("", "_relu")
    },
    **{
        f"quantized.linear{relu}{dynamic}": _quantised_linear
        for relu in ("", "_relu")
        for dynamic in ("", "_dynamic")
    },
}
"""Formulas by operator packet, or by its name."""


def _per_element(inputs: int = 0, output: int = 0) -> Formula:
    def formula(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
        return inputs * args[0].numel() + output * out.numel()

    return formula


def _norm(weight: int, affine: int, bare: int) -> Formula:
    """``affine`` operations an element, ``bare`` where argument number ``weight`` is None."""

    def formula(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
        has_weight = len(args) > weight and args[weight] is not None
        return args[0].numel() * (affine if has_weight else bare)

    return formula


batch_norm_training = _norm(weight=1, affine=5, bare=4)

FVCORE: dict[Any, Formula] = {
    aten.batch_norm: _norm(weight=1, affine=2, bare=1),
    aten.layer_norm: _norm(weight=2, affine=5, bare=4),
    aten.group_norm: _norm(weight=2, affine=5, bare=4),
    aten.instance_norm: _norm(weight=1, affine=5, bare=4),
    aten.adaptive_avg_pool2d: _per_element(inputs=1),
    aten.upsample_nearest2d: _per_element(output=1),
    aten.upsample_bilinear2d: _per_element(output=4),
    aten.grid_sampler: _per_element(output=4),
}
"""fvcore/nn/jit_handles.py: what it adds to convolutions and matrix products."""

NO_ATTENTION: dict[Any, Formula] = {
    aten.scaled_dot_product_attention: lambda args, kwargs, out: 0,
}
"""fvcore has no handle for the fused attention and leaves it out of its total."""
