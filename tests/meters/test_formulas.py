"""Every operation costs what a count by hand says, forward and backward, or is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.meters.formulas import COMPLEX, FORMULAS
from benchmarks.meters.operations import OperationCounter, UnknownOperation

Make = Callable[..., Tensor]
Case = Callable[[Make], Any]
_attend = F.scaled_dot_product_attention


def real(*shape: int) -> Tensor:
    return torch.randn(*shape, requires_grad=True)


def complex_(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.complex64, requires_grad=True)


def forward(case: Case, make: Make = real, composite: bool = False) -> int:
    """Seen below autograd, or above composite operations as a network's cost is."""
    with torch.set_grad_enabled(not composite), OperationCounter(composite=composite) as counter:
        case(make)
    return counter.macs


def training(case: Case, make: Make = real) -> int:
    with OperationCounter() as counter:
        out = case(make)
        (out[0] if isinstance(out, tuple) else out).abs().sum().backward()
    return counter.macs


PAIRS = 2 * 4 * 5 * 7  # batch, heads, queries, keys
MATH, FUSED = 3, 3.5  # the fused backward pass computes one product of five again
STEPS = 5 * 2

COSTS: dict[str, tuple[Case, int, float]] = {
    # name: (case, multiply-adds of the forward pass, those of a training step as a multiple)
    "attention": (lambda r: _attend(r(2, 4, 5, 8), r(2, 4, 7, 8), r(2, 4, 7, 8)), PAIRS * 16, 3.5),
    "attention, one batch of keys": (
        lambda r: _attend(r(2, 4, 5, 8), r(1, 4, 7, 8), r(1, 4, 7, 8)),
        PAIRS * 16,
        MATH,
    ),
    "attention, one batch of queries": (
        lambda r: _attend(r(1, 4, 5, 8), r(2, 4, 7, 8), r(2, 4, 7, 8)),
        PAIRS * 16,
        MATH,
    ),
    "attention, one head of keys": (
        lambda r: _attend(r(2, 4, 5, 8), r(2, 1, 7, 8), r(2, 1, 7, 8)),
        PAIRS * 16,
        FUSED if torch.__version__ >= torch.torch_version.TorchVersion("2.12") else MATH,
    ),
    "attention, grouped queries": (
        lambda r: _attend(r(2, 4, 5, 8), r(2, 2, 7, 8), r(2, 2, 7, 8), enable_gqa=True),
        PAIRS * 16,
        FUSED,
    ),
    "attention, queries without a batch": (
        lambda r: _attend(r(4, 5, 8), r(2, 4, 7, 8), r(2, 4, 7, 8)),
        PAIRS * 16,
        MATH,
    ),
    "attention, other values": (
        lambda r: _attend(r(2, 4, 5, 8), r(2, 4, 7, 8), r(2, 4, 7, 6)),
        PAIRS * 14,
        MATH,
    ),
    "lstm": (lambda r: nn.LSTM(4, 6)(r(5, 2, 4))[0], STEPS * 4 * 6 * (4 + 6), 3),
    "lstm without biases": (
        lambda r: nn.LSTM(4, 6, bias=False)(r(5, 2, 4))[0],
        STEPS * 4 * 6 * (4 + 6),
        3,
    ),
    "lstm, batch first": (
        lambda r: nn.LSTM(4, 6, batch_first=True)(r(2, 5, 4))[0],
        STEPS * 4 * 6 * (4 + 6),
        3,
    ),
    "lstm, two layers, two directions": (
        lambda r: nn.LSTM(4, 6, 2, bidirectional=True)(r(5, 2, 4))[0],
        STEPS * 2 * 4 * 6 * ((4 + 6) + (12 + 6)),
        3,
    ),
    "bilinear": (lambda r: nn.Bilinear(3, 4, 5)(r(2, 3), r(2, 4)), 2 * 5 * 4 * (3 + 1), 0),
    "addbmm": (lambda r: torch.addbmm(r(3, 5), r(2, 3, 4), r(2, 4, 5)), 2 * 3 * 4 * 5, 3),
    "baddbmm": (lambda r: torch.baddbmm(r(2, 3, 5), r(2, 3, 4), r(2, 4, 5)), 2 * 3 * 4 * 5, 3),
    "mv": (lambda r: torch.mv(r(3, 4), r(4)), 12, 3),
    "addmv": (lambda r: torch.addmv(r(3), r(3, 4), r(4)), 12, 3),
    "addr": (lambda r: torch.addr(r(3, 4), r(3), r(4)), 12, 3),
    "dot": (lambda r: torch.dot(r(3), r(3)), 3, 1),  # its gradients scale vectors
    "outer": (lambda r: torch.outer(r(3), r(4)), 12, 1),
    "ger": (lambda r: torch.ger(r(3), r(4)), 12, 1),
    "einsum, outer": (lambda r: torch.einsum("i,j->ij", r(3), r(4)), 12, 1),
    "einsum": (lambda r: torch.einsum("bij,bjk->bik", r(2, 3, 4), r(2, 4, 5)), 120, 3),
    "scaling": (lambda r: r(2, 3, 4, 4) * r(1, 3, 1, 1), 0, 1),
    "conv_transpose, groups": (
        lambda r: F.conv_transpose2d(r(2, 4, 8, 8), r(4, 3, 3, 3), groups=2, stride=2),
        2 * 64 * 4 * 3 * 9,
        3,
    ),
    "conv, groups": (
        lambda r: F.conv2d(r(2, 4, 8, 8), r(6, 2, 3, 3), groups=2),
        2 * 36 * 6 * 2 * 9,
        3,
    ),
    "conv_tbc": (lambda r: torch.conv_tbc(r(5, 2, 4), r(3, 4, 6), r(6)), 3 * 2 * 3 * 4 * 6, 3),
    "embedding bag": (lambda r: F.embedding_bag(INDICES, r(10, 4), mode="sum"), 0, 1),
    "embedding bag of weighted samples": (
        lambda r: F.embedding_bag(INDICES, r(10, 4), mode="sum", per_sample_weights=r(2, 3)),
        2 * 3 * 4,
        3,
    ),
    "few distances": (lambda r: torch.cdist(r(4, 3), r(5, 3)), 4 * 5 * 3, 3),
    "many distances": (lambda r: torch.cdist(r(40, 3), r(50, 3)), 40 * 50 * 3, 3),
    "own distances": (lambda r: F.pdist(r(4, 3)), 6 * 3, 2),
    "affine grid": (lambda r: F.affine_grid(r(1, 2, 3), [1, 1, 4, 4], False), 4 * 4 * 2 * 3, 2),
    "grouped product": (
        lambda r: torch._grouped_mm(
            r(16, 16).bfloat16(), r(2, 16, 16).bfloat16(), torch.tensor([8, 16]).int()
        ),
        16**3,
        3,
    ),
}
INDICES = torch.tensor([[1, 2, 5], [3, 4, 9]])


@pytest.mark.parametrize("name", COSTS)
def test_an_operation_costs_what_a_count_by_hand_says(name: str) -> None:
    case, macs, steps = COSTS[name]
    assert forward(case) == macs
    assert forward(case, composite=True) == macs
    if steps:
        assert training(case) == steps * macs


def test_gradients_of_a_bilinear_layer_are_products_again() -> None:
    """Of x1 (N, I), W (O, I, J), x2 (N, J): each gradient is two products of three factors."""
    n, i, j, o = 2, 3, 4, 5
    case = COSTS["bilinear"][0]
    gradients = training(case) - forward(case)
    # Of the six ways to multiply three factors pair by pair, PyTorch takes one each.
    assert 3 * n * o * i * j <= gradients <= 3 * n * o * (i * j + i + j) + n * i * j


@pytest.mark.parametrize(
    "layer", [nn.GRU(4, 6), nn.RNN(4, 6), nn.LSTM(4, 6, proj_size=3), nn.LSTM(4, 6)]
)
def test_recurrent_layers_cost_their_matrices_each_step(layer: Any) -> None:
    matrices = sum(p.numel() for p in layer.parameters() if p.dim() == 2)
    assert forward(lambda r: layer(r(5, 2, 4))) == STEPS * matrices
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(5, 2, 4), [5, 3])
    assert forward(lambda r: layer(packed)) == (5 + 3) * matrices


def test_recurrent_layers_of_a_gpu_cost_their_matrices_each_step() -> None:
    """By their signature, as cuDNN is not everywhere."""
    lstm = nn.LSTM(4, 6, 2, bidirectional=True)
    weights = list(lstm.parameters())
    inputs = torch.randn(5, 2, 4)
    ahead = FORMULAS[torch.ops.aten._cudnn_rnn]
    back = FORMULAS[torch.ops.aten._cudnn_rnn_backward]
    hand = COSTS["lstm, two layers, two directions"][1]
    assert ahead((inputs, weights, 4, None, inputs), {}, (inputs,)) == hand
    for mask, times in (([True, True, True, True], 2), ([True, True, True, False], 1)):
        assert back((inputs, weights, 4, mask), {}, (inputs,)) == times * hand


@pytest.mark.parametrize("kind", ["flash", "efficient", "cudnn"])
def test_attention_of_a_gpu_follows_its_output(kind: str) -> None:
    query, key, value = torch.empty(2, 8, 5, 16), torch.empty(2, 2, 7, 16), torch.empty(2, 2, 7, 4)
    out = torch.empty(2, 8, 5, 4)
    operation = getattr(torch.ops.aten, f"_scaled_dot_product_{kind}_attention")
    pairs = 2 * 8 * 5 * 7
    assert FORMULAS[operation]((query, key, value), {}, (out, None)) == pairs * (16 + 4)
    operation = getattr(torch.ops.aten, f"_scaled_dot_product_{kind}_attention_backward")
    backward = FORMULAS[operation]((out, query, key, value), {}, (query, key, value))
    assert backward == pairs * (3 * 16 + 2 * 4)


COMPLEX_CASES: dict[str, Case] = {
    "mm": lambda r: r(3, 4) @ r(4, 5),
    "bmm": lambda r: r(2, 3, 4) @ r(2, 4, 5),
    "addmm": lambda r: torch.addmm(r(5), r(3, 4), r(4, 5)),
    "linear": lambda r: F.linear(r(3, 4), r(5, 4)),
    "einsum": lambda r: torch.einsum("ij,jk->ik", r(3, 4), r(4, 5)),
    "mv": lambda r: r(3, 4) @ r(4),
    "vdot": lambda r: torch.vdot(r(3), r(3)),
    "outer": lambda r: torch.outer(r(3), r(4)),
    "conv1d": lambda r: F.conv1d(r(2, 4, 8), r(6, 4, 3)),
    "conv2d": lambda r: F.conv2d(r(2, 4, 8, 8), r(6, 2, 3, 3), groups=2),
    "conv_transpose2d": lambda r: F.conv_transpose2d(r(2, 4, 8, 8), r(4, 3, 3, 3)),
}


@pytest.mark.parametrize("name", COMPLEX_CASES)
def test_a_complex_multiply_add_is_three_everywhere(name: str) -> None:
    case = COMPLEX_CASES[name]
    assert COMPLEX == 3
    for composite in (False, True):
        assert forward(case, complex_, composite) == 3 * forward(case, real, composite) > 0
    assert training(case, complex_) == 3 * training(case)


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (lambda r: torch.fft.fft(r(8)), "_fft_r2c"),
        (lambda r: torch.fft.irfft2(r(4, 4)), "_fft_c2c|_fft_c2r"),
        (lambda r: torch.matrix_exp(r(4, 4)), "linalg_matrix_exp"),
        (lambda r: torch.linalg.inv(r(4, 4)), "linalg_inv_ex"),
        (lambda r: torch.linalg.svdvals(r(4, 4)), "_linalg_svd"),
        (lambda r: torch.linalg.qr(r(4, 4)), "linalg_qr"),
        (lambda r: torch.linalg.eigvalsh(r(4, 4)), "_linalg_eigh"),
        (lambda r: torch.linalg.cholesky(torch.eye(4)), "linalg_cholesky_ex"),
        (lambda r: torch.linalg.solve(r(4, 4), r(4)), "_linalg_solve_ex"),
        (lambda r: torch.linalg.solve_triangular(r(4, 4), r(4, 4), upper=True), "triangular"),
        (lambda r: torch.slogdet(r(4, 4)), "_linalg_slogdet"),
        (lambda r: torch.sparse_csr_tensor([0, 1], [2], [1.0], (1, 4)) @ r(4, 5), "aten"),
        (lambda r: flex_attention(*(r(1, 1, 8, 4).detach(),) * 3), "flex_attention"),
    ],
)
@pytest.mark.parametrize("composite", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_what_has_no_formula_is_refused_by_name(case: Case, name: str, composite: bool) -> None:
    with pytest.raises(UnknownOperation, match=f"no count is known .*{name}"):
        forward(case, composite=composite)


def test_fvcore_ignores_products_by_element() -> None:
    with torch.no_grad(), OperationCounter("fvcore", composite=True) as counter:
        torch.outer(real(3), real(4))
    assert counter.macs == 0


@pytest.mark.parametrize("name", ["mm", "bmm", "addmm", "linear", "conv1d", "conv_transpose2d"])
def test_torchs_own_counter_agrees(name: str) -> None:
    case = COMPLEX_CASES[name]
    with FlopCounterMode(display=False) as oracle:
        case(real)
    assert 2 * forward(case) == oracle.get_total_flops()
