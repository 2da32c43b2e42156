"""Sub-networks against plain networks of their depth, and against the counts of paper and code."""

from __future__ import annotations

import copy
import itertools
import pickle
import re
from collections.abc import Callable, Sequence

import pytest
import torch
import torchvision.models as zoo
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from benchmarks.meters.operations import count_macs
from benchmarks.meters.parameters import parameters
from methods import METHODS
from methods.adaptive_depth import AdaptiveDepth, export
from methods.adaptive_depth.subnets import parse_flags, select_subnets, subnet_name
from tasks.classification.classifier import Classifier
from tasks.classification.models.cifar_resnet import CifarResNet
from tasks.errors import UserError
from tasks.registry import build


def resnet(depths: Sequence[int]) -> nn.Module:
    return zoo.ResNet(BasicBlock, list(depths), num_classes=5)


def bottlenecks(depths: Sequence[int]) -> nn.Module:
    return zoo.ResNet(Bottleneck, list(depths), num_classes=5, width_per_group=4)


def mobilenet(depths: Sequence[int]) -> nn.Module:
    rows = [[1, 16, 1], [6, 24, 2], [6, 32, 2], [6, 64, 2], [6, 96, 1], [6, 160, 2], [6, 320, 1]]
    setting = [[t, c, n, s] for (t, c, s), n in zip(rows, depths, strict=True)]
    return zoo.MobileNetV2(5, width_mult=0.25, inverted_residual_setting=setting)


def vit(depths: Sequence[int]) -> nn.Module:
    return zoo.VisionTransformer(32, 16, sum(depths), 2, 16, 32, num_classes=5)


def swin(depths: Sequence[int]) -> nn.Module:
    return zoo.SwinTransformer([2, 2], 8, list(depths), [1, 2, 2, 2], [2, 2], num_classes=5)


def cifar(depths: Sequence[int]) -> nn.Module:
    network = CifarResNet(max(depths), 5, 3, 4, "B")
    for index, depth in enumerate(depths, start=1):
        del network.get_submodule(f"layer{index}")[depth:]
    return network


FAMILIES: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...], tuple[int, ...]]] = {
    "cifar": (cifar, (2, 5, 4), (1, 3, 2)),
    "bottleneck": (bottlenecks, (3, 1, 4, 2), (2, 1, 2, 1)),
    "mobilenet": (mobilenet, (1, 2, 3, 1, 4, 1, 1), (1, 1, 2, 1, 2, 1, 1)),
    "vit": (vit, (3, 3, 2), (2, 2, 2)),
    "swin": (swin, (2, 2, 4, 3), (1, 1, 2, 2)),
}
"""A network by its depths, some depths of stages, and the mandatory part of each."""


def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def perturbed(model: nn.Module) -> nn.Module:
    """Every weight and statistic its own random number, in evaluation mode."""
    generator = torch.Generator().manual_seed(2)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.mul_(0.5 + noise).add_(0.05 * noise.flip(0))
    return model.eval()


def adaptive(family: str, **options: object) -> Classifier:
    build, depths, _ = FAMILIES[family]
    torch.manual_seed(0)
    return perturbed(AdaptiveDepth(**options).prepare(Classifier(build(depths))))


def stage_flags(family: str) -> list[int]:
    """Each stage's flag, written out by hand."""
    return {
        "cifar": [0, 1, 2],
        "bottleneck": [0, 1, 1, 2],
        "mobilenet": [0, 0, 1, 2, 2, 2, 2],
        "vit": [0, 1, 1],
        "swin": [0, 1, 2, 3],
    }[family]


def plain_subnet(model: Classifier, family: str, flags: Sequence[bool]) -> nn.Module:
    """An ordinary network of the sub-network's depth with the weights it should use, copied by key.

    Knows only the names of the state dict: what lies under ``block`` is skippable, ``full`` and
    ``skip`` are the two sets of norms.
    """
    build, depths, mandatory = FAMILIES[family]
    stages = stage_flags(family)
    with torch.device("meta"):
        whole = list(build(depths).state_dict())
    stage_of = {key: stage_of_key(key, family, depths) for key in whole}
    kept: dict[str, torch.Tensor] = {}
    for key, tensor in model.backbone.state_dict().items():
        parts = key.split(".")
        plain = ".".join(part for part in parts if part not in ("block", "full", "skip"))
        stage = stage_of[plain]
        flag = flags[stages[stage]] if stage is not None else False
        if "block" in parts and flag:
            continue
        if ("skip" in parts and not flag) or ("full" in parts and flag):
            continue
        kept[plain] = tensor
    own = [s for s in range(len(depths)) if depths[s] > mandatory[s]]
    shallow = [
        mandatory[s] if s in own and flags[stages[s]] else depths[s] for s in range(len(depths))
    ]
    with torch.device("meta"):
        network = build(shallow)
    names = list(network.state_dict())
    assert len(names) == len(kept)
    network.load_state_dict(dict(zip(names, kept.values(), strict=True)), assign=True)
    return network.eval()


def stage_of_key(key: str, family: str, depths: Sequence[int]) -> int | None:
    """The stage whose flag a tensor of the plain network depends on, from 0."""
    if found := re.match(r"layer(\d)\.", key):
        return int(found[1]) - 1
    if family == "mobilenet" and key.startswith("features"):
        ends = [*itertools.accumulate(depths)]
        place = min(max(int(key.split(".")[1]), 1), ends[-1])
        return next(stage for stage, end in enumerate(ends) if place <= end)
    if found := re.match(r"encoder\.layers\.encoder_layer_(\d+)", key):
        return int(found[1]) // 3
    if family == "swin" and (found := re.match(r"features\.([1-9])\.", key)):
        return int(found[1]) // 2  # an even place merges patches for the stage after it
    return None


@pytest.mark.parametrize("family", FAMILIES)
def test_every_subnet_equals_a_plain_network_of_its_depth(family: str) -> None:
    model = adaptive(family)
    flags = len(model.backbone.switch.skip)
    x = images()
    seen = []
    for choice in itertools.product((False, True), repeat=flags):
        model.backbone.set_skip(choice)
        with torch.no_grad():
            switched = model(x)
            torch.testing.assert_close(switched, plain_subnet(model, family, choice)(x))
        seen.append(switched)
    assert len(torch.stack(seen).unique(dim=0)) == 2**flags


@pytest.mark.parametrize("family", FAMILIES)
def test_exported_subnets_are_plain_and_leave_the_model_as_it_was(family: str) -> None:
    method = AdaptiveDepth(subnets="all")
    model = adaptive(family)
    before, x = copy.deepcopy(model.state_dict()), images()
    build, depths, _ = FAMILIES[family]
    with torch.device("meta"):
        plain_classes = {type(module).__name__ for module in build(depths).modules()}
    for name, network in method.variants(model).items():
        flags = parse_flags(name, len(model.backbone.switch.skip))
        model.backbone.set_skip(flags)
        with torch.no_grad():
            torch.testing.assert_close(network(x), model(x), rtol=0, atol=0)
        plain = plain_subnet(model, family, flags)
        assert parameters(network).stored == parameters(plain).stored
        classes = {type(module).__name__ for module in network.backbone.modules()}
        assert classes - plain_classes <= {"Skip"}
        assert type(network.backbone) is type(plain)
        assert not any(module._forward_hooks for module in network.modules())
        for parameter in network.parameters():
            parameter.data.zero_()
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


def test_the_base_net_of_a_resnet_loads_into_torchvisions_class_by_name() -> None:
    base = export(adaptive("bottleneck"), [True] * 3)
    plain = bottlenecks((2, 1, 2, 1)).eval()
    plain.load_state_dict(base.backbone.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(plain(images()), base(images()))


def test_prepare_starts_both_sets_of_norms_from_the_networks_own() -> None:
    network = perturbed(resnet((2, 2, 2, 2)))
    shallow = resnet((1, 1, 1, 1)).eval()
    shallow.load_state_dict(network.state_dict(), strict=False)
    x = images()
    with torch.no_grad():
        whole = network(x)
        model = AdaptiveDepth().prepare(Classifier(network)).eval()
        assert torch.equal(model(x), whole)
        model.backbone.set_skip([True] * 4)
        assert torch.equal(model(x), shallow(x))


@pytest.mark.parametrize("family", ["cifar", "mobilenet", "vit", "swin"])
def test_one_set_of_norms_when_they_are_not_skip_aware(family: str) -> None:
    build, depths, _ = FAMILIES[family]
    model = adaptive(family, skip_aware_norms=False)
    with torch.device("meta"):
        assert parameters(model).stored == parameters(build(depths)).stored
    base = export(model, [True] * len(model.backbone.switch.skip))
    shared = {k.replace(".block.", "."): v for k, v in model.backbone.state_dict().items()}
    assert all(torch.equal(v, shared[k]) for k, v in base.backbone.state_dict().items())


@pytest.mark.parametrize("family", ["cifar", "swin"])
def test_all_subnets_come_back_from_a_saved_state(family: str, tmp_path) -> None:
    model = adaptive(family)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    build, depths, _ = FAMILIES[family]
    fresh = AdaptiveDepth().prepare(Classifier(build(depths))).eval()
    fresh.load_state_dict(torch.load(tmp_path / "weights.pth"))
    twin = pickle.loads(pickle.dumps(model))
    x = images()
    for flags in itertools.product((False, True), repeat=len(model.backbone.switch.skip)):
        for network in (model, fresh, twin):
            network.backbone.set_skip(flags)
        with torch.no_grad():
            expected = model(x)
            assert torch.equal(fresh(x), expected)
            assert torch.equal(twin(x), expected)


def test_copies_have_a_switch_of_their_own() -> None:
    model = adaptive("cifar")
    twin = copy.deepcopy(model)
    twin.backbone.set_skip([True] * 3)
    assert model.backbone.switch.skip == (False,) * 3
    x = images()
    with torch.no_grad():
        assert not torch.equal(twin(x), model(x))


def imagenet(name: str, **options: object) -> tuple[Classifier, dict[str, nn.Module]]:
    with torch.device("meta"):
        model = Classifier(getattr(zoo, name)())
    method = AdaptiveDepth(**options)
    method.prepare(model)
    return model, method.variants(model)


def billions(network: nn.Module, counting: str) -> float:
    return round(count_macs(network, torch.zeros(1, 3, 224, 224, device="meta"), counting) / 1e9, 3)


def test_resnet50_counts() -> None:
    model, nets = imagenet("resnet50", subnets=["super", "TFFF", "TTFF", "TTTF", "base"])
    assert parameters(model).stored == 25_583_144 == 25_557_032 + 26_112
    assert parameters(nets["super"]).stored == 25_557_032
    assert round(parameters(nets["base"]).stored / 1e6, 3) == 17.112
    macs = {name: billions(network, "fvcore") for name, network in nets.items()}
    assert macs == {"super": 4.112, "TFFF": 3.891, "TTFF": 3.452, "TTTF": 2.795, "base": 2.576}


def test_mobilenet_v2_counts() -> None:
    model, nets = imagenet("mobilenet_v2", subnets=["base"])
    assert round(parameters(model).stored / 1e6, 3) == 3.528
    # reported/adn.csv's note on Table 1: what the official split gives.
    assert round(parameters(nets["base"]).stored / 1e6, 3) == 2.934
    assert billions(nets["base"], "fvcore") == 0.215


def test_vit_b_16_counts() -> None:
    model, nets = imagenet("vit_b_16", subnets=["base"])
    assert round(parameters(model).stored / 1e6, 3) == 86.592
    assert round(parameters(nets["base"]).stored / 1e6, 2) == 58.22
    assert billions(nets["base"], "unfused_attention") == 11.761


def test_swin_t_counts() -> None:
    model, nets = imagenet("swin_t", subnets=["super", "base"])
    assert round(parameters(model).stored / 1e6, 3) == 28.303
    assert billions(nets["super"], "plain") == 4.491
    assert billions(nets["base"], "plain") == 2.340
    assert round(parameters(nets["base"]).stored / 1e6, 2) == 15.31


def test_swin_t_with_its_last_stage_mandatory() -> None:
    model, nets = imagenet("swin_t", swin_last_mandatory=True, subnets=["TTTF", "base"])
    assert model.backbone.switch.skip == (False,) * 4
    assert billions(nets["base"], "plain") == 2.690
    assert round(parameters(nets["base"]).stored / 1e6, 2) == 22.40
    last = model.backbone.features[7]
    assert [type(block).__name__ for block in last] == ["SwinTransformerBlock"] * 2
    assert [type(block.norm1).__name__ for block in last] == ["SkipAwareNorm"] * 2


def test_default_subnets_and_their_order() -> None:
    names = ["super", "TFFF", "TTFF", "TTTF", "base", "FFFT", "FFTT", "FTTT"]
    assert list(select_subnets("default", 4)) == names
    assert list(select_subnets("default", 1)) == ["super", "base"]
    assert list(select_subnets(["TTFT", "FFFF"], 4)) == ["TTFT", "super"]


@given(st.integers(1, 7))
def test_all_subnets_have_names_of_their_own(stages: int) -> None:
    subnets = select_subnets("all", stages)
    assert len(subnets) == 2**stages
    for name, flags in subnets.items():
        assert parse_flags(name, stages) == flags
        assert subnet_name(flags) == name
    assert set(select_subnets("default", stages).items()) <= set(subnets.items())


def test_flags_per_family() -> None:
    counts = {
        "resnet18": 4,
        "resnet50": 4,
        "resnet101": 4,
        "mobilenet_v2": 5,
        "vit_b_16": 4,
        "vit_b_32": 4,
        "swin_t": 4,
        "swin_v2_t": 4,
        "wide_resnet50_2": 4,
    }
    for name, flags in counts.items():
        with torch.device("meta"):
            model = AdaptiveDepth().prepare(Classifier(getattr(zoo, name)()))
        assert len(model.backbone.switch.skip) == flags, name


def test_vits_skip_the_last_of_every_three_layers() -> None:
    with torch.device("meta"):
        model = AdaptiveDepth().prepare(Classifier(zoo.vit_b_32()))
    kinds = [type(layer).__name__ for layer in model.backbone.encoder.layers]
    assert [index for index, kind in enumerate(kinds) if kind == "Skippable"] == [2, 5, 8, 11]


def test_users_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="stages of 1, 1, 1; choose a deeper"):
        METHODS.get("adaptive_depth")().prepare(Classifier(cifar((1, 1, 1))))
    with pytest.raises(UserError, match="group of 3 layers"):
        AdaptiveDepth().prepare(Classifier(vit((2,))))
    with pytest.raises(UserError, match="swin_last_mandatory is for Swin"):
        AdaptiveDepth(swin_last_mandatory=True).prepare(Classifier(cifar((2, 2, 2))))
    with pytest.raises(UserError, match="no block view"):
        AdaptiveDepth().prepare(Classifier(nn.Linear(2, 2)))
    with pytest.raises(UserError, match="did you mean 'default'"):
        build("adaptive_depth", AdaptiveDepth, {"subnets": "defaults"})
    with pytest.raises(UserError, match=r"no sub-network 'TTTT'.*3 letters.*TFF"):
        AdaptiveDepth(subnets=["TTTT"]).prepare(Classifier(cifar((2, 2, 2))))
    with pytest.raises(UserError, match="empty"):
        AdaptiveDepth(subnets=[]).prepare(Classifier(cifar((2, 2, 2))))
    model = AdaptiveDepth().prepare(Classifier(cifar((2, 2, 2))))
    with pytest.raises(UserError, match="3 flags, not 2"):
        model.backbone.set_skip([True, False])
