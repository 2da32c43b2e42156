"""What an operation costs in multiply-adds.

A formula is ``formula(args, kwargs, out)``, with the operation's own arguments; None says that
these cannot be counted. Matrix products take theirs from ``torch.utils.flop_counter``, halved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.meters import layer_formulas as layers

aten = torch.ops.aten

Formula = Callable[[tuple[Any, ...], dict[str, Any], Any], int | None]

COMPLEX = 3
"""Real multiply-adds of a complex one, by Gauss's three products instead of four: PyTorch runs a
complex convolution as three real ones, which look like any others, so that matrix products
follow."""


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


def _matrix_vector(matrix: int) -> Formula:
    return lambda args, kwargs, out: args[matrix].numel()


def _strided(formula: Formula) -> Formula:
    """None for matrices that are stored sparsely, of which only a part is multiplied."""

    def checked(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int | None:
        tensors = (arg for arg in args if isinstance(arg, torch.Tensor))
        if any(tensor.layout != torch.strided for tensor in tensors):
            return None
        return formula(args, kwargs, out)

    return checked


def _real(formula: Formula) -> Formula:
    """A complex multiply-add counts as ``COMPLEX`` real ones."""

    def scaled(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int | None:
        macs = formula(args, kwargs, out)
        if not macs:
            return macs
        tensors = (each for each in tree_leaves(out) if isinstance(each, torch.Tensor))
        return macs * (COMPLEX if any(tensor.is_complex() for tensor in tensors) else 1)

    return scaled


_ATTENTION = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_fused_attention_overrideable",
)
_MATRIX_PRODUCTS = (aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.addmm_, aten.baddbmm_)

FORMULAS: dict[Any, Formula] = {
    operation: _from_torch(operation)
    for operation in flop_registry
    if isinstance(operation, torch._ops.OpOverloadPacket)
}
FORMULAS |= {
    aten.convolution: layers.convolution,
    aten._convolution: layers.convolution,
    aten.convolution_backward: layers.convolution_backward,
    aten.conv_tbc: layers.time_convolution,
    aten.conv_tbc_backward: layers.time_convolution_backward,
    aten.mv: _matrix_vector(0),
    aten.addmv: _matrix_vector(1),
    aten.addmv_: _matrix_vector(1),
    aten.dot: _matrix_vector(0),
    aten.vdot: _matrix_vector(0),
    aten.addr: lambda args, kwargs, out: out.numel(),
    aten.addr_: lambda args, kwargs, out: out.numel(),
    aten.mul: layers.outer_product,
    aten.addmm_: _from_torch(aten.addmm),
    aten.baddbmm_: _from_torch(aten.baddbmm),
    aten.addbmm: layers.added_products,
    aten.addbmm_: layers.added_products,
    aten._addmm_activation: _from_torch(aten.addmm),
    aten._int_mm: _from_torch(aten.mm),
    aten._weight_int8pack_mm: layers.linear_like,
    aten._grouped_mm: layers.grouped_product,
    aten._scaled_grouped_mm: layers.grouped_product,
    aten._trilinear: layers.trilinear,
    aten._cdist_forward: layers.distances,
    aten._cdist_backward: layers.distances_backward,
    aten._euclidean_dist: layers.distances,
    aten._pdist_forward: layers.own_distances,
    aten._pdist_backward: layers.own_distances_backward,
    aten.affine_grid_generator: layers.affine_grid,
    aten.mkldnn_rnn_layer: layers.recurrent_layer,
    aten.mkldnn_rnn_layer_backward: layers.recurrent_layer_backward,
    aten._cudnn_rnn: layers.recurrent,
    aten._cudnn_rnn_backward: layers.recurrent_backward,
    aten.miopen_rnn: layers.recurrent,
    aten.miopen_rnn_backward: layers.recurrent_backward,
    aten._embedding_bag: layers.weighted_bag(weights=6),
    aten._embedding_bag_forward_only: layers.weighted_bag(weights=6),
    aten._embedding_bag_backward: layers.weighted_bag(weights=10),
    aten._embedding_bag_dense_backward: layers.weighted_bag(weights=8),
    aten._embedding_bag_per_sample_weights_backward: layers.bag_weights_backward,
    aten.scaled_dot_product_attention: layers.attention,
    **{getattr(aten, name): layers.attention for name in _ATTENTION},
    **{getattr(aten, f"{name}_backward"): layers.attention_backward for name in _ATTENTION},
    # By name, because torchvision may not have been imported.
    "torchvision.deform_conv2d": layers.deform_convolution,
    "torchvision._deform_conv2d_backward": layers.deform_convolution_backward,
    **{
        f"quantized.conv{n}d{relu}": layers.quantised_convolution
        for n in (1, 2, 3)
        for relu in ("", "_relu")
    },
    **{
        f"quantized.linear{relu}{dynamic}": layers.linear_like
        for relu in ("", "_relu")
        for dynamic in ("", "_dynamic")
    },
}
FORMULAS |= {operation: _strided(FORMULAS[operation]) for operation in _MATRIX_PRODUCTS}
FORMULAS = {operation: _real(formula) for operation, formula in FORMULAS.items()}
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
    aten.mul: lambda args, kwargs, out: 0,
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
