"""Multiply-adds of single operations, from the shapes of what they take and give.

Each function is ``formula(args, kwargs, out)`` with the operation's own arguments.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

import torch

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


def _convolution_macs(
    inputs: torch.Tensor, weight: torch.Tensor, out: torch.Tensor, transposed: bool
) -> int:
    # Every weight meets every output position once (input position if transposed); the weight's
    # second dimension is already divided by the groups.
    positions = (inputs if transposed else out).shape[2:]
    return inputs.shape[0] * prod(positions) * weight.numel()


def convolution(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Of ``aten.convolution``."""
    return _convolution_macs(args[0], args[1], out, transposed=args[6])


def convolution_backward(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Once for each gradient that is wanted, of the input and of the weight.

    torch.utils.flop_counter forgets the groups in the weight's gradient.
    """
    grad_out, inputs, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
    once = _convolution_macs(inputs, weight, grad_out, transposed)
    return once * (bool(wanted[0]) + bool(wanted[1]))


def deform_convolution(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Of torchvision's, without its sampling."""
    return _convolution_macs(args[0], args[1], out, transposed=False)


def deform_convolution_backward(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Twice the forward pass."""
    grad_out, inputs, weight = args[:3]
    return 2 * _convolution_macs(inputs, weight, grad_out, transposed=False)


def time_convolution(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Of ``conv_tbc``: input (T, B, C), weight (K, C, C_out), output (T', B, C_out)."""
    return out.shape[:2].numel() * args[1].numel()


def time_convolution_backward(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Of ``conv_tbc_backward``: gradients of input and weight."""
    return 2 * args[0].shape[:2].numel() * args[2].numel()


def quantised_convolution(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Of a packed weight."""
    return _convolution_macs(args[0], args[1].unpack()[0], out, transposed=False)


def linear_like(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Every element of the output is a product over the input's last dimension."""
    return out.numel() * args[0].shape[-1]


def grouped_product(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Of ``_grouped_mm``, whose groups share rows, columns or, of two matrices, the inner sum."""
    first, second = args[:2]
    if first.dim() == second.dim() == 2:
        return first.numel() * second.shape[-1]
    return out.numel() * first.shape[-1]


def added_products(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Of ``addbmm``: the products of a batch, (B, N, M) by (B, M, P), added up."""
    return args[1].numel() * args[2].shape[-1]


def outer_product(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Of ``mul`` where it is an outer product of two vectors, (M, 1) times (N,) or (1, N).

    That is what ``outer``, ``ger``, ``einsum("i,j->ij")`` and the backward pass of a product of
    matrix and vector dispatch. Every other ``mul`` works element by element and is free.
    """
    first, second = args[:2]
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor):
        return 0
    column = first.dim() == 2 and first.shape[1] == 1
    row = second.dim() == 1 or (second.dim() == 2 and second.shape[0] == 1)
    wider = out.numel() > max(first.numel(), second.numel())
    return out.numel() if column and row and wider else 0


def trilinear(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Of ``_trilinear``: the first two factors are multiplied and summed, then the third.

    ``nn.Bilinear`` is ``N * O * J * (I + 1)`` for inputs (N, I) and (N, J), and its gradients are
    ``_trilinear`` again.
    """
    *factors, lack1, lack2, lack3, summed = args[:7]
    lacks = [set(lack1), set(lack2), set(lack3)]
    dims = range(factors[0].dim() + len(lacks[0]))
    sizes = dict.fromkeys(dims, 1)
    for factor, lack in zip(factors, lacks, strict=True):
        own = [dim for dim in dims if dim not in lack]
        sizes |= {dim: max(sizes[dim], n) for dim, n in zip(own, factor.shape, strict=True)}
    pair = [dim for dim in dims if not (dim in lacks[0] and dim in lacks[1])]
    left = [dim for dim in pair if not (dim in summed and dim in lacks[2])]
    rest = [dim for dim in dims if dim in left or dim not in lacks[2]]
    return prod(sizes[dim] for dim in pair) + prod(sizes[dim] for dim in rest)


def attention(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Two matrix products, Q K^T and the weights times V, masked entries included.

    The output (..., L, E_v) has the batch and the heads that queries, keys and values are
    broadcast or grouped to.
    """
    query, key = args[:2]
    result = out[0] if isinstance(out, tuple | list) else out
    pairs = result.shape[:-1].numel() * key.shape[-2]
    return pairs * (query.shape[-1] + result.shape[-1])


def attention_backward(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Q K^T again, and the gradients of the weights, V, Q and K."""
    grad, query, key = args[:3]
    pairs = grad.shape[:-1].numel() * key.shape[-2]
    return pairs * (3 * query.shape[-1] + 2 * grad.shape[-1])


def recurrent(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Of ``_cudnn_rnn``: each matrix of the list ``weight`` meets each step of each sequence."""
    return _recurrent_macs(args[0], args[1])


def recurrent_backward(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Gradients of input and states, and of the weights where ``output_mask`` asks for them."""
    return _recurrent_macs(args[0], args[1]) * (1 + bool(args[-1][3]))


def recurrent_layer(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Of ``mkldnn_rnn_layer``: one layer in one direction; missing biases are matrices of 0."""
    return _recurrent_macs(args[0], args[1:3])


def recurrent_layer_backward(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Gradients of input and states, and of the weights."""
    return 2 * _recurrent_macs(args[0], args[1:3])


def _recurrent_macs(inputs: torch.Tensor, weights: Iterable[torch.Tensor]) -> int:
    """Input (T, N, C), (N, T, C) or packed (steps, C); biases have one dimension."""
    return inputs.shape[:-1].numel() * sum(w.numel() for w in weights if w.dim() == 2)


def weighted_bag(weights: int, rows: int = 1, width: int = 0) -> Any:
    """Of sums of embeddings: a multiply-add an element where samples have weights, else none.

    Args:
        weights: which argument are the weights of the samples.
        rows: which one are the indices.
        width: which one has the width of an embedding as its last dimension.
    """

    def formula(args: Args, kwargs: Kwargs, out: Any) -> int:
        given = kwargs.get("per_sample_weights", args[weights] if len(args) > weights else None)
        return args[rows].numel() * args[width].shape[-1] if given is not None else 0

    return formula


def bag_weights_backward(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Of ``_embedding_bag_per_sample_weights_backward``: a dot product for each index."""
    return args[2].numel() * args[1].shape[-1]


def distances(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Squared differences of every pair; other norms than the Euclidean multiply nothing."""
    first, second, p = args[0], args[1], args[2] if len(args) > 2 else 2
    return first.numel() * second.shape[-2] if p == 2 else 0


def distances_backward(args: Args, kwargs: Kwargs, out: Any) -> int:
    """As forward."""
    _, first, second, p = args[:4]
    return first.numel() * second.shape[-2] if p == 2 else 0


def own_distances(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Of ``_pdist_forward``: the pairs of one set."""
    p = args[1] if len(args) > 1 else 2
    return out.numel() * args[0].shape[-1] if p == 2 else 0


def own_distances_backward(args: Args, kwargs: Kwargs, out: Any) -> int:
    """As forward."""
    grad, points, p = args[:3]
    return grad.numel() * points.shape[-1] if p == 2 else 0


def affine_grid(args: Args, kwargs: Kwargs, out: Any) -> int:
    """Every point of the grid times the matrix, (N, 2, 3) or (N, 3, 4)."""
    return out.numel() * args[0].shape[-1]
