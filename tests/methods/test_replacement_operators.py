"""What a replaced block computes and how gradients reach its neighbours."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn
from torchvision.models import MobileNetV2, ResNet, SwinTransformer, VisionTransformer
from torchvision.models.resnet import Bottleneck
from torchvision.models.swin_transformer import SwinTransformerBlockV2

from methods.blocks import block_view
from methods.replacement import Replacement, export
from tasks.classification.classifier import Classifier
from tasks.classification.models.cifar_resnet import CifarResNet
from tasks.classification.models.wide_resnet import WideResNet


def bottlenecks() -> nn.Module:
    """The first stage of a ResNet, four blocks long."""
    network = ResNet(Bottleneck, [4, 1, 1, 1], width_per_group=16, num_classes=5)
    network.layer2 = network.layer3 = network.layer4 = nn.Sequential()
    network.fc = nn.Linear(256, 5)
    return network


def inverted_residuals() -> nn.Module:
    return MobileNetV2(inverted_residual_setting=[[2, 8, 5, 1]], width_mult=1.0)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "basic": (lambda: CifarResNet(4, 5, 3, 4, "A"), (2, 3, 8, 8)),
    "preact": (lambda: WideResNet(4, 1, 5, 3, 0.0), (2, 3, 8, 8)),
    "bottleneck": (bottlenecks, (2, 3, 32, 32)),
    "inverted_residual": (inverted_residuals, (2, 3, 32, 32)),
    "vit": (lambda: VisionTransformer(16, 8, 4, 2, 8, 12, num_classes=5), (2, 3, 16, 16)),
    "swin": (lambda: SwinTransformer([2, 2], 8, [4], [2], [2, 2], num_classes=5), (2, 3, 16, 16)),
}


def build(kind: str, **options: object) -> tuple[BaseModel, BaseModel, int]:
    """The model with block 3 replaced, the same model before that, and the number replaced."""
    torch.manual_seed(0)
    model = Classifier(NETWORKS[kind][0]())
    for parameter in model.parameters():  # no zeros that would hide a difference
        nn.init.normal_(parameter, std=0.3)
    original = copy.deepcopy(model)
    method = Replacement(**{"blocks": [3], **options})
    method.prepare(model)
    (number,) = method.replaced_blocks
    return model, original, number


def half_sum(original: BaseModel, number: int, role: str, name: str = "weight") -> Tensor:
    view = block_view(original)
    before, after = (getattr(view.block(n).roles[role], name) for n in (number - 1, number + 1))
    return 0.5 * before + 0.5 * after


def features(kind: str) -> Tensor:
    return {
        "basic": torch.randn(2, 4, 6, 6),
        "preact": torch.randn(2, 16, 6, 6),
        "bottleneck": torch.randn(2, 256, 6, 6),
        "inverted_residual": torch.randn(2, 8, 6, 6),
        "vit": torch.randn(2, 5, 8),
        "swin": torch.randn(2, 4, 4, 8),
    }[kind]


def bn(x: Tensor) -> Tensor:
    """A fresh batch norm in training mode."""
    return (x - x.mean((0, 2, 3), keepdim=True)) / torch.sqrt(
        x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5
    )


def reference_light(kind: str, original: BaseModel, number: int, x: Tensor) -> Tensor:
    """The light operator's formula, written out with the hand-mixed weights."""

    def mixed(role: str, name: str = "weight") -> Tensor:
        return half_sum(original, number, role, name)

    if kind == "basic":
        return F.relu(bn(F.conv2d(x, mixed("conv1"), padding=1)) + x)
    if kind == "preact":
        return x + F.conv2d(F.relu(bn(x)), mixed("conv1"), padding=1)
    if kind == "bottleneck":
        y = F.relu(bn(F.conv2d(x, mixed("conv1"))))
        return F.relu(bn(F.conv2d(y, mixed("conv3"))) + x)
    if kind == "inverted_residual":
        y = F.relu6(bn(F.conv2d(x, mixed("expand"))))
        return x + bn(F.conv2d(y, mixed("project")))
    block = block_view(original).block(number).module
    y = F.layer_norm(x, x.shape[-1:], eps=1e-6 if kind == "vit" else 1e-5)
    if kind == "vit":
        attention = nn.MultiheadAttention(8, 2, batch_first=True)
        attention.in_proj_weight = nn.Parameter(mixed("qkv", "in_proj_weight"))
        attention.in_proj_bias = nn.Parameter(mixed("qkv", "in_proj_bias"))
        attention.out_proj.weight = nn.Parameter(mixed("proj"))
        attention.out_proj.bias = nn.Parameter(mixed("proj", "bias"))
        return x + attention(y, y, y)[0]
    view = block_view(original)
    attention = copy.deepcopy(block.attn)  # for its window and shift
    for role in ("qkv", "proj"):
        for name in ("weight", "bias"):
            setattr(getattr(attention, role), name, nn.Parameter(mixed(role, name)))
    tables = [view.block(n).module.attn.relative_position_bias_table for n in (2, 4)]
    attention.relative_position_bias_table = nn.Parameter(0.5 * tables[0] + 0.5 * tables[1])
    return x + attention(y)


@pytest.mark.parametrize("kind", NETWORKS)
def test_light_operator_computes_its_formula_with_the_mixed_weights(kind: str):
    model, original, number = build(kind)
    assert number == 3
    block = block_view(model).block(3).module
    if kind == "swin":
        block.drop.p = 0.0  # stochastic depth
    x = features(kind)
    torch.testing.assert_close(block(x), reference_light(kind, original, 3, x))


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_light_mlp_computes_its_formula(kind: str):
    model, original, number = build(kind, submodule="mlp")
    block = block_view(model).block(number).module.eval()
    x = features(kind)
    y = F.layer_norm(x, x.shape[-1:], eps=1e-6 if kind == "vit" else 1e-5)
    for role, act in (("fc1", F.gelu), ("fc2", lambda t: t)):
        y = act(F.linear(y, half_sum(original, 3, role), half_sum(original, 3, role, "bias")))
    torch.testing.assert_close(block(x), x + y)


@pytest.mark.parametrize("kind", NETWORKS)
def test_full_operator_is_the_own_block_with_the_mixed_weights(kind: str):
    model, original, number = build(kind, operator="full")
    block, reference = (block_view(m).block(number).module for m in (model, original))
    assert isinstance(block, type(reference))
    view = block_view(original)
    paths = dict(view.block(3).parts.role_paths)
    if kind == "swin":
        paths["table"] = "attn"
    mixed = {}
    for path in paths.values():
        for name, _ in reference.get_submodule(path).named_parameters(recurse=False):
            before, after = (
                getattr(view.block(n).module.get_submodule(path), name) for n in (2, 4)
            )
            mixed[f"{path}.{name}"] = 0.5 * before + 0.5 * after
    reference.load_state_dict({**reference.state_dict(), **mixed})
    x = features(kind)
    for module in (block, reference):
        module.eval()
    torch.testing.assert_close(block(x), reference(x))


def test_one_and_zero_give_the_block_before_its_own_norms_kept():
    model, original, number = build("basic", operator="full", fusion="scalar")
    for name, parameter in model.named_parameters():
        if "parameter_fusion" in name:
            nn.init.constant_(parameter, float(name.endswith(".a")))
    view = block_view(original)
    reference, before = view.block(number).module, view.block(number - 1).module
    reference.conv1, reference.conv2 = before.conv1, before.conv2
    x = features("basic")
    assert torch.equal(block_view(model).block(number).module(x), reference(x))


def test_attention_alone_keeps_the_own_mlp():
    model, original, _ = build("vit", operator="full", submodules=["attention"])
    block, own = (block_view(m).block(3).module for m in (model, original))
    assert torch.equal(block.mlp[0].weight, own.mlp[0].weight)
    assert isinstance(block.mlp[0].weight, nn.Parameter)
    expected = half_sum(original, 3, "qkv", "in_proj_weight")
    torch.testing.assert_close(block.self_attention.in_proj_weight, expected)


def swin_v2(**options: object) -> tuple[nn.Module, SwinTransformer]:
    """Block 3 of four, replaced; and the network before that."""
    torch.manual_seed(0)
    network = SwinTransformer(
        [2, 2], 8, [4], [2], [2, 2], 4.0, num_classes=5, block=SwinTransformerBlockV2
    )
    original = copy.deepcopy(network)
    Replacement(blocks=[3], **options).prepare(network)
    return network.features[1][2].eval(), original.features[1]


@pytest.mark.parametrize("submodule", ["attention", "mlp"])
def test_second_swin_normalises_after_the_operator(submodule: str):
    block, _ = swin_v2(submodule=submodule)
    x = features("swin")
    y = block.attention(x) if submodule == "attention" else block.mlp(x)
    torch.testing.assert_close(block(x), x + F.layer_norm(y, (8,)))


def test_second_swin_mixes_the_tables_network_and_the_scales_too():
    block, original = swin_v2(operator="full")
    for get in (lambda b: b.attn.cpb_mlp[2].weight, lambda b: b.attn.logit_scale):
        torch.testing.assert_close(get(block), (get(original[1]) + get(original[3])) / 2)


def test_windows_and_shift_stay_the_blocks_own():
    model, original, _ = build("swin", blocks=[2])
    ours, theirs = (block_view(m).block(2).module for m in (model, original))
    neighbour = block_view(original).block(1).module
    assert ours.attention.shift_size == theirs.attn.shift_size != neighbour.attn.shift_size


def test_adjacent_takes_the_last_convolution_before_and_the_first_after():
    model, original, _ = build("basic", adjacent=True)
    view = block_view(original)
    expected = 0.5 * view.block(2).module.conv2.weight + 0.5 * view.block(4).module.conv1.weight
    torch.testing.assert_close(block_view(model).block(3).module.conv.weight, expected)


def test_one_matching_neighbour_is_enough_for_single():
    model, original, number = build("basic", blocks=[4], boundary="single")
    assert number == 4  # the last of its stage: only the block before matches
    before = block_view(original).block(3).module.conv1.weight
    assert torch.equal(block_view(model).block(4).module.conv.weight, before)


@pytest.mark.parametrize("operator", ["light", "full"])
def test_projection_replaces_the_block_that_changes_the_width(operator: str):
    model, original, number = build("basic", blocks=[5], boundary="project", operator=operator)
    assert number == 5  # 4 to 8 channels, stride 2
    view = block_view(original)
    before, after = view.block(4).module.conv1.weight, view.block(6).module.conv1.weight
    expected = 0.5 * after[:, :4]  # (8, 8) cut to (8, 4)
    expected[:4] += 0.5 * before  # (4, 4) padded to (8, 4)
    block = block_view(model).block(5).module
    conv = block.conv if operator == "light" else block.conv1
    torch.testing.assert_close(conv.weight, expected)
    x = torch.randn(2, 4, 6, 6)
    y = block(x)
    assert y.shape == view.block(5).module(x).shape == (2, 8, 3, 3)
    if operator == "light":
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        torch.testing.assert_close(
            y, F.relu(bn(F.conv2d(x, expected, stride=2, padding=1)) + shortcut)
        )
    count = sum(p.numel() for n, p in model.named_parameters() if "channel_projection" in n)
    # conv1: out 8x4 for the block before, in 8x4 for the one after. conv2 (full): 8x4 and 4x8.
    assert count == (8 * 4 + 8 * 4 if operator == "light" else 8 * 4 + 8 * 4 + 8 * 4 + 4 * 8)


def test_a_preactivation_shortcut_projects_the_activated_input():
    model, original, number = build("preact", blocks=[5], boundary="project")
    block, own = (block_view(m).block(number).module for m in (model, original))
    x = features("preact")
    y = F.relu(bn(x))
    expected = own.shortcut(y) + F.conv2d(y, block.conv.weight, stride=2, padding=1)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("kind", ["bottleneck", "preact", "inverted_residual", "swin"])
@pytest.mark.parametrize("operator", ["light", "full"])
def test_projection_works_across_stages_of_every_kind(kind: str, operator: str):
    torch.manual_seed(0)
    network = {
        "bottleneck": lambda: ResNet(Bottleneck, [2, 2, 1, 1], num_classes=5),
        "preact": lambda: WideResNet(2, 1, 5, 3, 0.0),
        "inverted_residual": lambda: MobileNetV2(
            inverted_residual_setting=[[2, 8, 2, 1], [3, 12, 2, 2]]
        ),
        "swin": lambda: SwinTransformer([2, 2], 8, [2, 2], [2, 4], [2, 2], num_classes=5),
    }[kind]()
    model = Classifier(network)
    x = torch.randn(2, 3, 32, 32)
    shape = model(x).shape
    Replacement(boundary="project", blocks=[3], operator=operator).prepare(model)
    assert any("channel_projection" in name for name, _ in model.named_parameters())
    y = model(x)
    assert y.shape == shape
    y.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_projected_attention_widens_query_key_and_value_apart():
    torch.manual_seed(0)
    model = Classifier(SwinTransformer([2, 2], 8, [2, 2], [2, 4], [2, 2], num_classes=5))
    before, after = (model.backbone.features[i][j].attn.qkv.weight for i, j in ((1, 1), (3, 1)))
    Replacement(boundary="project", blocks=[3]).prepare(model)
    expected = (0.5 * after).view(3, 16, 16).clone()
    expected[:, :8, :8] += 0.5 * before.view(3, 8, 8)
    made = model.backbone.features[3][0].attention.qkv.weight
    torch.testing.assert_close(made, expected.view(48, 16))


def replaced_pair(**options: object) -> tuple[Classifier, Classifier]:
    """Blocks 2 and 4 of one stage of five replaced, in double; and its folded copy."""
    torch.manual_seed(0)
    model = Classifier(CifarResNet(5, 3, 2, 4, "A").double())
    method = Replacement(blocks=[2, 4], **options)
    method.prepare(model)
    assert method.replaced_blocks == (2, 4)
    for name, parameter in model.named_parameters():
        if "parameter_fusion" in name and parameter.requires_grad:
            nn.init.uniform_(parameter, -1, 1)
    return model, export(model)


@pytest.mark.parametrize("operator", ["light", "full"])
@pytest.mark.parametrize("detach", [False, True])
def test_gradients_through_shared_neighbours_are_the_sum_over_their_uses(
    operator: str, detach: bool
):
    """The folded copy, whose weights are leaves, gives G; the rest is the page's algebra."""
    model, folded = replaced_pair(operator=operator, detach_neighbours=detach)
    x = torch.randn(4, 2, 8, 8, dtype=torch.double)
    for network in (model, folded):
        network.train()(x).square().sum().backward()
    ours, plain = model.backbone.layer1, folded.backbone.layer1
    for role, own in (
        (("conv1", "conv"),) if operator == "light" else (("conv1",) * 2, ("conv2",) * 2)
    ):
        w = {n: getattr(ours[n - 1], role).weight for n in (1, 3, 5)}
        own_grad = {n: getattr(plain[n - 1], role).weight.grad for n in (1, 3, 5)}
        g = {n: getattr(plain[n - 1], own).weight.grad for n in (2, 4)}
        mix = {n: getattr(ours[n - 1], own).parameter_fusion["weight"] for n in (2, 4)}
        for n in (2, 4):
            torch.testing.assert_close(mix[n].a.grad, (g[n] * w[n - 1]).sum((1, 2, 3)))
            torch.testing.assert_close(mix[n].b.grad, (g[n] * w[n + 1]).sum((1, 2, 3)))
        through = {
            1: mix[2].a.view(-1, 1, 1, 1) * g[2],
            3: mix[2].b.view(-1, 1, 1, 1) * g[2] + mix[4].a.view(-1, 1, 1, 1) * g[4],
            5: mix[4].b.view(-1, 1, 1, 1) * g[4],
        }
        for n in (1, 3, 5):
            expected = own_grad[n] if detach else own_grad[n] + through[n]
            torch.testing.assert_close(w[n].grad, expected)


@pytest.mark.parametrize("operator", ["light", "full"])
def test_stage_with_two_synthesised_blocks_passes_gradcheck(operator: str):
    torch.manual_seed(0)
    stage = nn.Module()
    stage.layer1 = CifarResNet(5, 3, 2, 2, "A").layer1
    stage = stage.double()
    Replacement(blocks=[2, 4], operator=operator).prepare(stage)
    names, values = zip(*stage.layer1.named_parameters(), strict=True)
    x = torch.randn(2, 2, 3, 3, dtype=torch.double, requires_grad=True)

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(stage.layer1, dict(zip(names, values, strict=True)), x)

    torch.manual_seed(1)
    values = tuple(torch.randn_like(v).requires_grad_() for v in values)
    assert torch.autograd.gradcheck(run, (x, *values))
