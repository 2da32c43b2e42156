"""Operations that have no multiply-adds by the convention of every counting.

What is neither here nor in ``formulas`` is an error, so the list names operations one by one; a
counting such as ``fvcore`` may still give one of them a price.
"""

from __future__ import annotations

from typing import Any

import torch

_FREE_TAGS = {
    torch.Tag.pointwise,
    torch.Tag.inplace_view,
    getattr(torch.Tag, "reduction", torch.Tag.pointwise),
}

_FREE_PREFIXES = ("_foreach_", "_fused_adam", "_fused_sgd", "_fused_adagrad", "_amp_")
"""Optimizer and loss-scaling work: element by element."""

_FREE_NAMESPACES = {"prim", "c10d", "_c10d_functional", "c10d_functional", "profiler"}
"""Queries, communication and annotations."""

_NAMES = """
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

_softmax _softmax_backward_data _log_softmax _log_softmax_backward_data nll_loss_forward
nll_loss_backward nll_loss2d_forward nll_loss2d_backward mse_loss mse_loss_backward
smooth_l1_loss smooth_l1_loss_backward huber_loss huber_loss_backward soft_margin_loss
binary_cross_entropy binary_cross_entropy_backward binary_cross_entropy_with_logits
multi_margin_loss glu glu_backward native_dropout native_dropout_backward _fused_dropout
threshold_backward _prelu_kernel _prelu_kernel_backward rrelu_with_noise
rrelu_with_noise_backward

sum mean std var var_mean std_mean prod amax amin max min argmax argmin aminmax any all norm
linalg_vector_norm logsumexp cumsum cumprod count_nonzero median nanmedian mode kthvalue topk
sort argsort unique_dim _unique2 unique_consecutive bincount histc searchsorted bucketize
nonzero nonzero_static equal _local_scalar_dense is_nonzero item

cat stack copy clone contiguous _to_copy to fill zero _unsafe_view _reshape_alias
_reshape_copy lift_fresh lift_fresh_copy lift set resize detach pad constant_pad_nd
reflection_pad1d reflection_pad1d_backward reflection_pad2d reflection_pad2d_backward
replication_pad2d replication_pad2d_backward roll flip rot90 tril triu tril_indices
triu_indices im2col col2im pixel_shuffle pixel_unshuffle channel_shuffle
native_channel_shuffle repeat repeat_interleave expand_copy select_backward slice_backward
select_scatter slice_scatter index_select index_add index_copy index_fill index_put
_index_put_impl _unsafe_index _unsafe_index_put index gather scatter scatter_add
scatter_reduce masked_select masked_scatter take put embedding embedding_dense_backward
unfold_backward diag_embed diagonal_scatter diagonal_backward as_strided_scatter
value_selecting_reduction_backward split_with_sizes_copy _chunk_cat

empty empty_like empty_strided new_empty new_empty_strided zeros zeros_like new_zeros ones
ones_like new_ones full full_like new_full scalar_tensor arange linspace eye
_efficientzerotensor rand rand_like randn randn_like randint randint_like randperm uniform
normal normal_functional bernoulli random exponential multinomial poisson

upsample_nearest1d upsample_nearest2d upsample_nearest2d_backward _upsample_nearest_exact2d
upsample_nearest3d upsample_bilinear2d upsample_bilinear2d_backward _upsample_bilinear2d_aa
upsample_bicubic2d upsample_bicubic2d_backward _upsample_bicubic2d_aa upsample_linear1d
upsample_trilinear3d grid_sampler_2d grid_sampler_2d_backward
grid_sampler_3d grid_sampler_3d_backward

hardtanh relu6 hardsigmoid elu celu leaky_relu silu softplus prelu
hardtanh_backward hardsigmoid_backward hardswish hardswish_backward hardshrink_backward
softshrink_backward elu_backward leaky_relu_backward softplus_backward gelu gelu_backward mish
log_sigmoid_forward log_sigmoid_backward soft_margin_loss_backward multi_margin_loss_backward
multilabel_margin_loss_forward multilabel_margin_loss_backward abs eq ne lt le gt ge threshold
masked_fill floor_divide rsub xlogy copysign isin cummax cummin logcumsumexp trace native_norm
_safe_softmax _masked_softmax _masked_softmax_backward max_unpool2d
_ctc_loss _ctc_loss_backward _use_cudnn_ctc_loss _cudnn_ctc_loss
_thnn_fused_lstm_cell _thnn_fused_lstm_cell_backward_impl _thnn_fused_gru_cell
_thnn_fused_gru_cell_backward _pack_padded_sequence _pack_padded_sequence_backward
upsample_nearest1d_backward upsample_linear1d_backward upsample_nearest3d_backward
upsample_trilinear3d_backward _upsample_nearest_exact2d_backward
_upsample_bilinear2d_aa_backward _upsample_bicubic2d_aa_backward masked_scatter_backward
replication_pad1d replication_pad1d_backward reflection_pad3d reflection_pad3d_backward
replication_pad3d replication_pad3d_backward index_reduce unsafe_split allclose
unsafe_split_with_sizes empty_permuted geometric cauchy log_normal complex polar

is_same_size _has_compatible_shallow_copy_type record_stream _pin_memory is_pinned sym_size
sym_numel sym_stride sym_storage_offset stride size dim numel device is_contiguous
quantize_per_tensor quantize_per_channel quantize_per_tensor_dynamic dequantize q_scale
q_zero_point q_per_channel_scales q_per_channel_zero_points int_repr

_assert_async _assert_tensor_metadata _is_all_true _is_any_true nms roi_align
_roi_align_backward roi_pool ps_roi_align
"""
"""Pooling, norms, losses, reductions, moves, creation, resampling, activations, queries. Trailing
underscores are left off, so that the in-place twin is meant too."""

_FREE_NAMES = frozenset(_NAMES.split())

_QUANTISED = """
add add_relu add_scalar add_scalar_relu mul mul_relu mul_scalar mul_scalar_relu cat cat_relu
relu6 leaky_relu hardswish sigmoid batch_norm2d batch_norm2d_relu max_pool2d
"""
_FREE_QUANTISED = frozenset(_QUANTISED.split())
"""Of torch.ao's quantised operations."""


def is_free(operation: Any) -> bool:
    """Whether an operation has no multiply-adds: element-wise, views and the list above."""
    if not isinstance(operation, torch._ops.OpOverload):
        return False
    name = operation.overloadpacket.__name__
    return (
        bool(_FREE_TAGS & set(operation.tags))
        or operation.is_view
        or operation.namespace in _FREE_NAMESPACES
        or (operation.namespace in ("aten", "torchvision") and name.rstrip("_") in _FREE_NAMES)
        or (operation.namespace == "quantized" and name in _FREE_QUANTISED)
        or name.startswith(_FREE_PREFIXES)
    )
