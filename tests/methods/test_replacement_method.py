"""Which blocks are replaced, what that costs in parameters, options, and training."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from learning import Digits, train
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer, mobilenet_v2, resnet

from methods import replacement
from methods.base import METHODS
from methods.blocks import block_view, has_matching_neighbours, select_blocks
from methods.replacement import Replacement
from tasks.classification.classifier import Classifier
from tasks.classification.models.cifar_resnet import CifarResNet
from tasks.classification.models.wide_resnet import WideResNet
from tasks.classification.models.zoo import build_backbone
from tasks.errors import UserError
from tasks.registry import build


def cifar(blocks: int = 5, width: int = 16) -> nn.Module:
    return CifarResNet(blocks, 10, 3, width, "A")


def swin() -> nn.Module:
    return SwinTransformer([2, 2], 8, [2, 2, 6], [2, 2, 4], [3, 3], num_classes=5)


def vit(layers: int = 12) -> nn.Module:
    return VisionTransformer(16, 8, layers, 2, 8, 20, num_classes=5)


def prepare(network: nn.Module, **options: object) -> tuple[BaseModel, tuple[int, ...]]:
    method = Replacement(**options)
    model = method.prepare(Classifier(network))
    return model, method.replaced_blocks


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# Network; multiples of 4 that are clean (the method's page); what is replaced when others move.
POSITIONS = {
    "resnet34": (resnet.resnet34, [12], [6, 10, 12]),
    "resnet50": (resnet.resnet50, [12], [6, 10, 12]),
    "resnet101": (resnet.resnet101, [12, 16, 20, 24, 28], [6, 10, 12, 16, 20, 24, 28]),
    "vit": (vit, [4, 8], [4, 8, 11]),
    "cifar_resnet110": (
        lambda: cifar(18, 2),
        [4, 8, 12, 16, 24, 28, 32, 40, 44, 48, 52],
        [4, 8, 12, 16, 21, 24, 28, 32, 35, 40, 44, 48, 52],
    ),
}


@pytest.mark.parametrize("operator", ["light", "full"])
@pytest.mark.parametrize("name", POSITIONS)
def test_clean_positions_stay_and_the_others_move(name: str, operator: str):
    network, clean, shifted = POSITIONS[name]
    with torch.device("meta"):
        _, replaced = prepare(network(), operator=operator)
    assert list(replaced) == shifted
    assert [number for number in replaced if number % 4 == 0] == clean


def conv_counts(widths: list[int], operator: str, fusion: str) -> int:
    """What blocks of two 3x3 convolutions lose, less their norms and coefficients."""
    saved = 0
    for w in widths:
        block = 2 * 9 * w * w + 2 * 2 * w
        tensors = [w] if operator == "light" else [w, w]
        saved += block - 2 * sum(tensors) - coefficients(tensors, fusion)
    return saved


def coefficients(channels: list[int], fusion: str) -> int:
    """Two for each output channel, for each tensor, or for the block."""
    return 2 * {"channel": sum(channels), "tensor": len(channels), "scalar": 1}[fusion]


def bottleneck_counts(operator: str, fusion: str) -> int:
    saved = 0
    for w in (128, 256, 256):  # ResNet-50's blocks 6, 10 and 12
        block = 4 * w * w + 9 * w * w + 4 * w * w + 2 * (w + w + 4 * w)
        tensors = [w, 4 * w] if operator == "light" else [w, w, 4 * w]
        saved += block - 2 * sum(tensors) - coefficients(tensors, fusion)
    return saved


def inverted_counts(operator: str, fusion: str) -> int:
    c, h = 64, 384  # MobileNetV2's block 9
    block = c * h + 9 * h + h * c + 2 * (h + h + c)
    tensors = [h, c] if operator == "light" else [h, h, c]
    return block - 2 * sum(tensors) - coefficients(tensors, fusion)


def transformer_counts(
    width: int, hidden: int, table: tuple[int, int], operator: str, fusion: str
) -> int:
    d, m = width, hidden
    block = 3 * d * d + 3 * d + d * d + d + 2 * d * m + m + d + 4 * d + table[0] * table[1]
    attention = [3 * d, 3 * d, d, d] + ([table[1]] if table[1] else [])
    tensors = attention if operator == "light" else [*attention, m, m, d, d]
    norms = 2 * d if operator == "light" else 4 * d
    return block - norms - coefficients(tensors, fusion)


# Network; options; parameters saved by (operator, fusion).
COUNTS: dict[str, tuple[Callable[[], nn.Module], dict, Callable[[str, str], int]]] = {
    "cifar_resnet32": (cifar, {"blocks": [4, 8, 13]}, lambda *a: conv_counts([16, 32, 64], *a)),
    "wrn_28_1": (
        lambda: WideResNet(4, 1, 10, 3, 0.0),
        {},
        lambda *a: conv_counts([16, 32, 64], *a),
    ),
    "resnet50": (resnet.resnet50, {}, bottleneck_counts),
    "mobilenet_v2": (mobilenet_v2, {"blocks": [9]}, inverted_counts),
    "vit": (vit, {"blocks": [5]}, lambda *a: transformer_counts(8, 20, (0, 0), *a)),
    "swin": (swin, {"blocks": [7]}, lambda *a: transformer_counts(32, 128, (25, 4), *a)),
}


@pytest.mark.parametrize("fusion", ["channel", "tensor", "scalar"])
@pytest.mark.parametrize("operator", ["light", "full"])
@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_the_baselines_less_what_the_formula_says(
    name: str, operator: str, fusion: str
):
    network, options, saved = COUNTS[name]
    with torch.device("meta"):
        before = parameters(network())
        model, _ = prepare(network(), operator=operator, fusion=fusion, **options)
    assert before - parameters(model) == saved(operator, fusion)


def test_attention_alone_keeps_the_parameters_of_the_mlp():
    with torch.device("meta"):
        both, _ = prepare(vit(), operator="full", fusion="scalar", blocks=[5])
        alone, _ = prepare(
            vit(), operator="full", fusion="scalar", blocks=[5], submodules=["attention"]
        )
    assert parameters(alone) - parameters(both) == 2 * 8 * 20 + 20 + 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"operator": "lihgt"},
            r"'operator' of replacement .* 'lihgt' \(did you mean 'light'\?\)",
        ),
        ({"fusion": "chanel"}, "did you mean 'channel'"),
        ({"boundary": "shfit"}, "did you mean 'shift'"),
        ({"mix": "random"}, "did you mean 'random_frozen'"),
        ({"submodule": "atention"}, "did you mean 'attention'"),
        ({"submodules": ["mpl"]}, "did you mean 'mlp'"),
        ({"submodules": []}, "submodules is empty"),
        ({"every": 0}, "every must be a positive integer, not 0"),
        ({"every": 2.5}, "'every' of replacement must be a whole number, got 2.5"),
        ({"adjacent": True, "operator": "full"}, "operator=light"),
    ],
)
def test_a_bad_option_is_told_in_one_sentence(options: dict, message: str):
    with pytest.raises(UserError, match=message):
        build("replacement", Replacement, options)


def test_nothing_replaceable_says_what_is():
    with pytest.raises(UserError, match=r"every=9 finds no block.*those that can are 2, 3"):
        prepare(vit(4), every=9)
    with (
        torch.device("meta"),
        pytest.raises(UserError, match="boundary=project or boundary=single"),
    ):
        prepare(resnet.resnet18())


def test_adjacent_is_refused_where_first_and_last_layer_differ():
    for network in (vit(), mobilenet_v2()):
        with pytest.raises(UserError, match=r"adjacent=True needs .*basic or preact"):
            prepare(network, adjacent=True)


def test_a_block_number_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="no block 40"):
        prepare(cifar(), blocks=[40])


def test_replaced_blocks_are_told_in_the_log(monkeypatch):
    lines = []
    monkeypatch.setattr(replacement, "print_log", lambda line, logger: lines.append(line))
    prepare(cifar())
    assert lines == ["replacement (light, channel fusion): replaced blocks 4, 8, 13 of 15"]


def test_neighbours_are_never_replaced_themselves():
    _, replaced = prepare(cifar(), every=1)
    assert all(b - a > 1 for a, b in itertools.pairwise(replaced))


def test_a_replaced_network_still_has_a_block_view_and_the_generator_is_not_touched():
    for operator in ("light", "full"):
        network = cifar()
        state = torch.get_rng_state()
        model, _ = prepare(network, operator=operator)
        assert torch.equal(torch.get_rng_state(), state)
        view = block_view(model)
        assert [len(stage) for stage in view.stages] == [5, 5, 5]
        assert all(view.block(n).shape_preserving for n in (4, 8, 13))


def test_it_is_found_by_its_name():
    assert METHODS.get("replacement") is Replacement


def test_coefficients_get_no_weight_decay():
    model, _ = prepare(cifar(3, 4), blocks=[2])
    wrapper = build_optim_wrapper(
        model,
        {
            "optimizer": {"type": "SGD", "lr": 0.1, "weight_decay": 0.01},
            "paramwise_cfg": {"custom_keys": dict(Replacement.paramwise)},
        },
    )
    decay = {id(p): g["weight_decay"] for g in wrapper.param_groups for p in g["params"]}
    mixes = [p for n, p in model.named_parameters() if n.endswith((".a", ".b"))]
    assert len(mixes) == 2
    for parameter in model.parameters():
        expected = 0.0 if any(parameter is mix for mix in mixes) else 0.01
        assert decay[id(parameter)] == expected


def learnt(
    options: dict, seed: int = 0, epochs: int = 4
) -> tuple[BaseModel, dict[str, torch.Tensor], list[float], Digits]:
    """A network trained on digits, its first parameters, its mean loss by epoch, and the digits."""
    torch.manual_seed(seed)
    digits = Digits(train=500)
    model, _ = prepare(CifarResNet(4, 10, 1, 8, "A"), **{"blocks": [3, 7], **options})
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    wrapper = build_optim_wrapper(
        model,
        {
            "optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4},
            "paramwise_cfg": {"custom_keys": dict(Replacement.paramwise)},
        },
    )
    history = train(Replacement(), model, wrapper, lambda epoch: digits.batches(25), epochs)
    return model, start, history, digits


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"operator": "full"},
        {"detach_neighbours": True},
        {"mix": "random_frozen"},
        {"boundary": "project", "blocks": [5]},
    ],
    ids=str,
)
def test_it_learns_the_digits(options: dict):
    model, start, history, digits = learnt(options)
    # 8 seeds each, AVX-512 and AVX2, worst options: 0.049 ± 0.016 of the loss, 0.877 ± 0.017 right.
    assert history[-1] < 0.3 * history[0]
    folded = Replacement().variants(model)["folded"]
    with torch.no_grad():
        composed, made = (network.eval()(digits.held_out) for network in (model, folded))
    torch.testing.assert_close(made, composed)
    assert digits.accuracy(folded) > 0.7
    frozen = options.get("mix") == "random_frozen"
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, start[name]) == (frozen and "parameter_fusion" in name)


def test_a_random_mix_is_drawn_from_the_seed():
    def drawn(seed: int) -> list[float]:
        torch.manual_seed(seed)
        model, _ = prepare(cifar(3, 4), blocks=[2], mix="random_frozen", fusion="tensor")
        return [p.item() for p in model.parameters() if not p.requires_grad]

    assert drawn(1) == drawn(1) != drawn(2)
    assert all(0 <= value <= 1 for value in drawn(1))


@pytest.mark.parametrize(
    ("network", "every", "replaced"),
    [("resnet34", 4, 3), ("resnet50", 4, 3), ("mobilenet_v2", 4, 1), ("swin_t", 2, 2),
     ("cifar_resnet56", 3, 9), ("cifar_resnet110", 4, 13)],
)  # fmt: skip
def test_every_reaches_the_blocks_that_the_card_says(network, every, replaced):
    with torch.device("meta"):
        view = block_view(build_backbone(network, 10, 3, 224))
    chosen = select_blocks(view, every, None, partial(has_matching_neighbours, view), "shift")
    assert len(chosen) == replaced
    card = (Path(__file__).parents[2] / "docs/methods/replacement.md").read_text()
    (line,) = re.findall(rf"^\| {network} \|.*$", card, re.MULTILINE)
    assert line.split("|")[7 - every].strip() == str(replaced)


def test_what_projections_add_is_said(caplog):
    _, replaced = prepare(cifar(3, 4), boundary="project", blocks=[5])
    assert replaced == (5,)
    assert re.search(r"projections of boundary=project are [\d,]+ parameters", caplog.text)
    caplog.clear()
    prepare(cifar(3, 4), blocks=[2])
    assert "projections" not in caplog.text
