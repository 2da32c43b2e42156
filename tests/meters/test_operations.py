"""Counts against the figures that papers print, and nothing counted as zero by accident."""

from __future__ import annotations

import pytest
import torch
import torchvision.models as zoo
from mmengine.model import BaseModel
from torch import nn
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from benchmarks.meters.formulas import FORMULAS, register_formula
from benchmarks.meters.operations import (
    COUNTINGS,
    OperationCounter,
    UnknownOperation,
    count_macs,
    count_train_flops,
)
from tasks.errors import UserError


def cifar_resnet(name: str, channels: int) -> nn.Module:
    model = getattr(zoo, name)(num_classes=10)
    model.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


@pytest.mark.parametrize(
    ("name", "channels", "size", "millions"),
    [
        ("resnet18", 1, 28, 458.21),
        ("resnet34", 1, 28, 939.91),
        ("resnet34", 3, 32, 1164.53),
        ("resnet50", 3, 32, 1315.02),
    ],
)
def test_optimal_depth_figures(name: str, channels: int, size: int, millions: float) -> None:
    with torch.device("meta"):
        image = torch.zeros(1, channels, size, size)
        macs = count_macs(cifar_resnet(name, channels), image, counting="fvcore_train")
    assert round(macs / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("name", "counting", "macs"),
    [
        ("resnet50", "plain", 4_089_184_256),
        ("resnet50", "fvcore", 4_111_512_576),  # ADN: 4.112 G
        ("vit_b_16", "unfused_attention", 17_582_740_224),  # ADN: 17.58 G
        ("vit_b_16", "plain", 17_563_828_224),
        ("swin_t", "plain", 4_490_566_656),  # ADN: 4.491 G
    ],
)
def test_imagenet_figures(name: str, counting: str, macs: int) -> None:
    with torch.device("meta"):
        model, image = getattr(zoo, name)(), torch.zeros(1, 3, 224, 224)
    assert count_macs(model, image, counting) == macs


@pytest.mark.parametrize(("depths", "billions"), [((1, 1, 3, 2), 2.690), ((1, 1, 3, 1), 2.340)])
def test_adaptive_depth_swin_bases(depths: tuple[int, ...], billions: float) -> None:
    with torch.device("meta"):
        swin = zoo.SwinTransformer([4, 4], 96, list(depths), [3, 6, 12, 24], [7, 7])
        image = torch.zeros(1, 3, 224, 224)
    assert round(count_macs(swin, image) / 1e9, 3) == billions


def test_adaptive_depth_vit_base() -> None:
    with torch.device("meta"):
        vit, image = zoo.VisionTransformer(224, 16, 8, 12, 768, 3072), torch.zeros(1, 3, 224, 224)
    macs = count_macs(vit, image, counting="unfused_attention")
    assert round(macs / 1e9, 3) == 11.761


def test_fvcore_prices_by_element() -> None:
    x = torch.zeros(1, 4, 6, 6)

    def extra(layer: nn.Module, counting: str = "fvcore") -> int:
        return count_macs(layer, x, counting)

    elements = x.numel()
    assert extra(nn.BatchNorm2d(4)) == 2 * elements
    assert extra(nn.BatchNorm2d(4, affine=False)) == elements
    assert extra(nn.BatchNorm2d(4), "fvcore_train") == 5 * elements
    assert extra(nn.GroupNorm(2, 4)) == 5 * elements
    assert extra(nn.GroupNorm(2, 4, affine=False)) == 4 * elements
    assert extra(nn.LayerNorm([6, 6])) == 5 * elements
    assert extra(nn.LayerNorm([6, 6], elementwise_affine=False)) == 4 * elements
    assert extra(nn.AdaptiveAvgPool2d(1)) == elements
    assert extra(nn.Upsample(scale_factor=2, mode="bilinear")) == 4 * 4 * elements
    assert extra(nn.ReLU()) == 0
    assert extra(nn.BatchNorm2d(4), "plain") == 0


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 8, 3, stride=2, padding=1),
        nn.Conv2d(4, 8, 3, groups=4),
        nn.ConvTranspose2d(4, 8, 3, stride=2, groups=2),
    ],
)
def test_training_convolution_costs_three_forwards(layer: nn.Module) -> None:
    x = torch.zeros(2, 4, 8, 8, requires_grad=True)
    flops = count_train_flops(lambda: layer(x).sum().backward(), batch_size=2)
    assert flops == 3 * 2 * count_macs(layer, x[:1].detach())


def test_grouped_transposed_convolution_by_hand() -> None:
    layer = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2)
    assert count_macs(layer, torch.zeros(1, 4, 5, 5)) == 5 * 5 * 4 * 3 * 9


def test_first_layer_needs_no_input_gradient() -> None:
    layer = nn.Linear(16, 8)
    x = torch.zeros(5, 16)
    assert count_train_flops(lambda: layer(x).sum().backward(), 5) == 2 * 2 * 16 * 8


def test_checkpointing_pays_for_its_second_forward() -> None:
    block = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    x = torch.zeros(1, 8, requires_grad=True)
    once = 2 * 2 * 8 * 8
    plain = count_train_flops(lambda: block(x).sum().backward(), 1)
    recomputed = count_train_flops(
        lambda: checkpoint(block, x, use_reentrant=False).sum().backward(), 1
    )
    assert plain == 3 * once
    # The last layer's output is not needed again, but its matrix product may be recomputed.
    assert once // 2 <= recomputed - plain <= once


def test_real_training_step_with_optimizer_and_clipping() -> None:
    vit = zoo.VisionTransformer(32, 16, 2, 2, 32, 64, num_classes=10)
    optimizer = torch.optim.AdamW(vit.parameters())
    x, y = torch.randn(3, 3, 32, 32), torch.tensor([0, 1, 2])

    def step() -> None:
        functional.cross_entropy(vit(x), y).backward()
        nn.utils.clip_grad_norm_(vit.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    forward = count_macs(vit, x[:1])
    patches = 4 * (3 * 16 * 16) * 32  # the first layer: its input takes no gradient
    scores = 2 * 5 * 5 * 32  # recomputed by the fused attention's backward, in both blocks
    assert count_train_flops(step, 3) == 2 * (3 * forward - patches + scores)


def test_attention_is_the_same_written_out() -> None:
    class Written(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x @ x.transpose(-1, -2), -1) @ x

    class Fused(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.scaled_dot_product_attention(x, x, x)

    x = torch.randn(1, 2, 7, 4)
    expected = 2 * 2 * 7 * 7 * 4
    assert count_macs(Written(), x) == count_macs(Fused(), x) == expected
    assert count_macs(Fused(), x, "fvcore") == 0
    assert count_macs(Fused(), x, "unfused_attention") == expected


def test_unknown_operation_is_named_and_can_be_registered() -> None:
    class Fourier(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft(x).real

    x = torch.randn(1, 8)
    with pytest.raises(UnknownOperation, match=r"_fft_\w+.*register_formula"):
        count_macs(Fourier(), x)
    operation = torch.ops.aten._fft_r2c
    register_formula(operation, lambda args, kwargs, out: args[0].numel())
    register_formula(torch.ops.aten._fft_c2c, 0)
    try:
        assert count_macs(Fourier(), x) == 8
    finally:
        del FORMULAS[operation], FORMULAS[torch.ops.aten._fft_c2c]


def test_counting_leaves_no_trace() -> None:
    class Noisy(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x + torch.rand_like(x))

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), Noisy(6, 2))
    model.train()
    model[1].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    calls: list[torch.Size] = []
    model[0].register_forward_hook(lambda module, args, out: calls.append(out.shape))
    random_state = torch.get_rng_state()
    fast_path = torch.backends.mha.get_fastpath_enabled()
    count_macs(model, torch.zeros(1, 3, 8, 8))
    assert [m.training for m in model] == [True, False, True, True]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert calls == [torch.Size([1, 4, 6, 6])]
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.backends.mha.get_fastpath_enabled() == fast_path
    # The model still trains: nothing was turned into an inference tensor.
    model(torch.zeros(2, 3, 8, 8)).sum().backward()


def test_mmengine_model_is_asked_for_its_tensor() -> None:
    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.Linear(4, 3)

        def forward(self, inputs, data_samples=None, mode="tensor"):
            assert mode == "tensor"
            return self.backbone(inputs)

    assert count_macs(Model(), torch.zeros(1, 4)) == 12


def test_a_compiled_model_is_counted_as_written() -> None:
    runs: list[int] = []

    def backend(graph, inputs):
        def kernel(*args):
            runs.append(1)
            return graph.forward(*args)

        return kernel

    model = torch.compile(nn.Linear(4, 3), backend=backend)
    model(torch.zeros(1, 4))
    assert runs == [1]
    assert count_macs(model, torch.zeros(1, 4)) == 12
    assert count_train_flops(lambda: model(torch.zeros(1, 4)).sum().backward(), 1) == 2 * 2 * 12
    assert runs == [1]


def test_the_counter_adds_up_and_says_where() -> None:
    with OperationCounter() as counter:
        torch.randn(2, 3) @ torch.randn(3, 4)
        torch.randn(5, 2, 3) @ torch.randn(5, 3, 4)
    assert counter.by_operation == {"aten.mm": 24, "aten.bmm": 120}
    assert counter.macs == 144


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_network_costs_what_it_did_before() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
            self.inner, self.last = nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.Linear(8, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = functional.relu(self.norm(self.stem(x)))
            x = functional.relu(x + self.inner(x))
            return self.last(functional.adaptive_avg_pool2d(x, 1).flatten(1))

    network, x = Network().eval(), torch.randn(1, 3, 8, 8)
    prepared = prepare_fx(network, get_default_qconfig_mapping("x86"), (x,))
    prepared(x)
    plain = count_macs(network, x)
    assert count_macs(convert_fx(prepared), x) == plain
    dynamic = torch.ao.quantization.quantize_dynamic(network, {nn.Linear})
    assert count_macs(dynamic, x) == plain


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="did you mean 'fvcore'"):
        count_macs(nn.Linear(2, 2), torch.zeros(1, 2), counting="fvcor")
    with pytest.raises(UserError, match="one image"):
        count_macs(nn.Linear(2, 2), torch.zeros(4, 2))
    assert all(c.summary and c.source for c in COUNTINGS.values())
