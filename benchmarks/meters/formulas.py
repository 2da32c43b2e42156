"""What an operation costs in multiply-adds, and which operations cost none.

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


def _matrix_vector(matrix: int) -> Formula:
    return lambda args, kwargs, out: args[matrix].numel()


def _attention(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    """Two matrix products, Q K^T and the weights times V, masked entries included."""
    query, key, value = args[:3]
    pairs = query.shape[:-1].numel() * key.shape[-2]
    return pairs * (query.shape[-1] + value.shape[-1])


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
    aten._addmm_activation: _from_torch(aten.addmm),
    aten.scaled_dot_product_attention: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_fused_attention_overrideable: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _fused_attention_backward,
    aten._scaled_dot_product_fused_attention_overrideable_backward: _fused_attention_backward,
}


def register_torchvision() -> None:
    """Formulas of torchvision's own operators, once it has been imported."""
    namespace = torch.ops.torchvision
    if hasattr(namespace, "deform_conv2d"):
        FORMULAS.setdefault(namespace.deform_conv2d, _deform_convolution)


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

_FREE_TAGS = {
    torch.Tag.pointwise,
    torch.Tag.inplace_view,
    getattr(torch.Tag, "reduction", torch.Tag.pointwise),
}

_FREE_PREFIXES = ("_foreach_", "_fused_adam", "_fused_sgd", "_fused_adagrad", "_amp_")
"""Optimizer and loss-scaling work: element by element."""

_FREE_NAMESPACES = {"prim", "c10d", "_c10d_functional", "c10d_functional", "profiler"}
"""Queries, communication and annotations."""

_FREE_NAMES = frozenset(
    """
    _adaptive_avg_pool2d _adaptive_avg_pool2d_backward _adaptive_avg_pool3d
    _adaptive_avg_pool3d_backward adaptive_max_pool1d adaptive_max_pool2d
    adaptive_max_pool2d_backward adaptive_max_pool3d avg_pool1d avg_pool2d avg_pool2d_backward
    avg_pool3d avg_pool3d_backward max_pool2d_with_indices max_pool2d_with_indices_backward
    max_pool3d_with_indices max_pool3d_with_indices_backward mkldnn_max_pool2d
    fractional_max_pool2d

    native_batch_norm native_batch_norm_backward _native_batch_norm_legit
    _native_batch_norm_legit_no_training _batch_norm_with_update _batch_norm_no_update
    batch_norm_backward cudnn_batch_norm cudnn_batch_norm_backward miopen_batch_norm
    miopen_batch_norm_backward batch_norm_stats batch_norm_gather_stats
    batch_norm_gather_stats_with_counts batch_norm_elemt batch_norm_backward_reduce
    batch_norm_backward_elemt batch_norm_update_stats native_layer_norm native_layer_norm_backward
    native_group_norm native_group_norm_backward _fused_rms_norm _fused_rms_norm_backward
    _weight_norm_interface _weight_norm_interface_backward renorm

    _softmax _softmax_backward_data _log_softmax _log_softmax_backward_data
    nll_loss_forward nll_loss_backward nll_loss2d_forward nll_loss2d_backward mse_loss
    mse_loss_backward smooth_l1_loss smooth_l1_loss_backward huber_loss huber_loss_backward
    soft_margin_loss binary_cross_entropy binary_cross_entropy_backward
    binary_cross_entropy_with_logits multi_margin_loss glu glu_backward
    native_dropout native_dropout_backward _fused_dropout threshold_backward _prelu_kernel
    _prelu_kernel_backward rrelu_with_noise rrelu_with_noise_backward

    sum mean std var var_mean std_mean prod amax amin max min argmax argmin aminmax any all norm
    linalg_vector_norm logsumexp cumsum cumprod count_nonzero median nanmedian mode kthvalue topk
    sort argsort unique_dim _unique2 unique_consecutive bincount histc searchsorted bucketize
    nonzero nonzero_static equal _local_scalar_dense is_nonzero item

    cat stack copy_ copy clone contiguous _to_copy to fill fill_ zero zero_ _unsafe_view
    _reshape_alias _reshape_copy lift_fresh lift_fresh_copy lift set_ resize_ detach_ pad
    constant_pad_nd reflection_pad1d reflection_pad1d_backward reflection_pad2d
    reflection_pad2d_backward replication_pad2d replication_pad2d_backward roll flip rot90 tril
    triu tril_indices triu_indices im2col col2im pixel_shuffle pixel_unshuffle channel_shuffle
    native_channel_shuffle repeat repeat_interleave expand_copy select_backward slice_backward
    select_scatter slice_scatter index_select index_add index_add_ index_copy index_copy_
    index_fill index_fill_ index_put index_put_ _index_put_impl_ _unsafe_index _unsafe_index_put
    index gather scatter scatter_ scatter_add scatter_add_ scatter_reduce scatter_reduce_
    masked_select masked_scatter masked_scatter_ take put_ embedding embedding_dense_backward
    unfold_backward diag_embed diagonal_scatter diagonal_backward as_strided_scatter
    value_selecting_reduction_backward split_with_sizes_copy _chunk_cat

    empty empty_like empty_strided new_empty new_empty_strided zeros zeros_like new_zeros ones
    ones_like new_ones full full_like new_full scalar_tensor arange linspace eye _efficientzerotensor
    rand rand_like randn randn_like randint randint_like randperm uniform uniform_ normal normal_
    normal_functional bernoulli bernoulli_ random_ exponential_ multinomial poisson

    upsample_nearest1d upsample_nearest2d upsample_nearest2d_backward _upsample_nearest_exact2d
    upsample_nearest3d upsample_bilinear2d upsample_bilinear2d_backward _upsample_bilinear2d_aa
    upsample_bicubic2d upsample_bicubic2d_backward _upsample_bicubic2d_aa upsample_linear1d
    upsample_trilinear3d grid_sampler_2d grid_sampler_2d_backward

    is_same_size _has_compatible_shallow_copy_type record_stream _pin_memory is_pinned
    sym_size sym_numel sym_stride sym_storage_offset stride size dim numel device is_contiguous
    _assert_async _assert_tensor_metadata _is_all_true _is_any_true
    nms roi_align _roi_align_backward roi_pool ps_roi_align
    """.split()
)
"""Moves, reductions, norms, pooling, losses, creation, resampling: no multiply-adds by the
convention of every counting (``FVCORE`` names the ones it prices)."""


def is_free(operation: Any) -> bool:
    """Whether an operation has no multiply-adds: element-wise, views and the list above."""
    if not isinstance(operation, torch._ops.OpOverload):
        return False
    name = operation.overloadpacket.__name__
    return (
        bool(_FREE_TAGS & set(operation.tags))
        or operation.is_view
        or operation.namespace in _FREE_NAMESPACES
        or name in _FREE_NAMES
        or name.startswith(_FREE_PREFIXES)
    )
