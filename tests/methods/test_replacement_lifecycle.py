"""Synthesised weights through evaluation, copies, checkpoints, export and reduced precision."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import ResNet, SwinTransformer, VisionTransformer
from torchvision.models.resnet import Bottleneck

from methods.replacement import Replacement
from methods.replacement.fusion import NeighbourRecipe
from methods.synthesis import SynthesisedLayer
from tasks.classification.classifier import Classifier
from tasks.classification.models.cifar_resnet import CifarResNet


def bottlenecks() -> nn.Module:
    """The first stage of a ResNet, four blocks long."""
    network = ResNet(Bottleneck, [4, 1, 1, 1], num_classes=5)
    network.layer2 = network.layer3 = network.layer4 = nn.Sequential()
    network.fc = nn.Linear(256, 5)
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "basic": lambda: CifarResNet(4, 5, 3, 4, "A"),
    "bottleneck": bottlenecks,
    "vit": lambda: VisionTransformer(16, 8, 4, 2, 8, 12, num_classes=5),
    "swin": lambda: SwinTransformer([2, 2], 8, [4], [2], [2, 2], num_classes=5),
}
OPERATORS = ["light", "full"]


def plain(kind: str = "basic") -> BaseModel:
    torch.manual_seed(0)
    model = Classifier(NETWORKS[kind]())
    for parameter in model.parameters():  # no zeros that would hide a difference
        nn.init.normal_(parameter, std=0.3)
    return model


def prepared(kind: str = "basic", **options: object) -> BaseModel:
    return Replacement(**{"blocks": [3], **options}).prepare(plain(kind))


def images() -> Tensor:
    return torch.randn(2, 3, 16, 16)


def evaluate(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(x)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_materialised_weights_give_the_composed_outputs(kind: str, operator: str):
    model, x = prepared(kind, operator=operator).eval(), images()
    composed = model(x)  # gradients are on: nothing is kept
    assert composed.requires_grad
    with torch.no_grad():
        first, second = model(x), model(x)
    torch.testing.assert_close(first, composed.detach())
    assert torch.equal(first, second)


def test_weights_are_made_once_in_evaluation_and_at_every_step_of_training(monkeypatch):
    made = []
    compose = NeighbourRecipe.compose
    monkeypatch.setattr(NeighbourRecipe, "compose", lambda self: made.append(1) or compose(self))
    model, x = prepared(operator="full"), images()
    evaluate(model, x)
    with torch.no_grad():
        model(x)
    assert len(made) == 2  # conv1 and conv2
    model.train()
    with torch.no_grad():
        model(x)
        model(x)
    assert len(made) == 6


def edit_neighbour(model: BaseModel) -> None:
    with torch.no_grad():
        model.backbone.layer1[1].conv1.weight.mul_(2)


def edit_coefficient(model: BaseModel) -> None:
    with torch.no_grad():
        model.backbone.layer1[2].conv.parameter_fusion["weight"].b.fill_(3)


def step_optimizer(model: BaseModel) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD(model.parameters(), lr=0.1).step()


def load_other(model: BaseModel) -> None:
    model.load_state_dict({k: v * 0.7 for k, v in model.state_dict().items()})


def assign_other(model: BaseModel) -> None:
    state = {k: v * 0.7 for k, v in model.state_dict().items()}
    model.load_state_dict(state, assign=True)


def swap_data(model: BaseModel) -> None:
    weight = model.backbone.layer1[1].conv1.weight
    weight.data = weight.data * 2


def swap_data_until_an_address_returns(model: BaseModel) -> None:
    weight = model.backbone.layer1[1].conv1.weight
    address = weight.data_ptr()
    for factor in range(2, 40):
        weight.data = weight.data * factor / (factor - 1)
        if weight.data_ptr() == address:
            break


def edit_through_data_then_eval(model: BaseModel) -> None:
    """As mmengine's moving-average hook does between validations."""
    model.backbone.layer1[1].conv1.weight.data.mul_(2)
    model.eval()


EDITS = [
    edit_neighbour,
    edit_coefficient,
    step_optimizer,
    load_other,
    assign_other,
    swap_data,
    swap_data_until_an_address_returns,
    edit_through_data_then_eval,
]


@pytest.mark.parametrize("edit", EDITS)
def test_kept_weights_follow_every_change_of_what_they_are_made_of(edit):
    model, x = prepared().eval(), images()
    conv = model.backbone.layer1[2].conv
    with torch.no_grad():
        model(x)
        before = conv.weight.clone()
        edit(model)
        after = conv.weight
    assert not torch.allclose(before, after)
    expected = conv.recipes["weight"].compose()
    torch.testing.assert_close(after, expected.detach())


def test_gradients_flow_in_evaluation_mode_after_weights_were_kept():
    model, x = prepared().eval(), images()
    with torch.inference_mode():
        model(x)
    model(x).sum().backward()
    assert model.backbone.layer1[2].conv.parameter_fusion["weight"].a.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_nothing_is_registered_twice_and_no_synthesised_weight_at_all(kind: str, operator: str):
    model = prepared(kind, operator=operator)
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    assert len(names) == len(list(model.parameters()))
    storages = [t.data_ptr() for t in model.state_dict().values() if t.numel()]
    assert len(storages) == len(set(storages))
    layers = [m for m in model.modules() if isinstance(m, SynthesisedLayer)]
    assert layers
    for layer in layers:
        assert not layer.recipes.keys() & dict(layer.named_parameters(recurse=False)).keys()


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_state_dict_round_trips(kind: str, operator: str):
    model, x = prepared(kind, operator=operator), images()
    model.train()(x)  # moves the running statistics
    torch.manual_seed(1)
    other = Replacement(blocks=[3], operator=operator).prepare(Classifier(NETWORKS[kind]()))
    assert not torch.equal(evaluate(model, x), evaluate(other, x))
    other.load_state_dict(model.state_dict())
    assert torch.equal(evaluate(model, x), evaluate(other, x))


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_copies_are_made_of_their_own_neighbours(copier, kind: str, operator: str):
    model, x = prepared(kind, operator=operator), images()
    expected = evaluate(model, x)
    other = copier(model)
    assert torch.equal(evaluate(other, x), expected)
    ours = {id(p) for p in model.parameters()}
    for layer in other.modules():
        for recipe in getattr(layer, "recipes", {}).values():
            sources = [t for s in (recipe.before, recipe.after) for t in s.tensors()]
            registered = {id(p) for p in other.parameters()}
            assert all(id(t) in registered and id(t) not in ours for t in sources)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("boundary", ["shift", "project"])
def test_folded_variant_is_equal_plain_and_apart(kind: str, operator: str, boundary: str):
    method = Replacement(blocks=[3], operator=operator, boundary=boundary)
    model = method.prepare(plain(kind))
    x = images()
    model.train()(x)
    expected = evaluate(model, x)
    state = {k: v.clone() for k, v in model.train().state_dict().items()}
    folded = method.variants(model)["folded"]
    torch.testing.assert_close(evaluate(folded, x), expected)
    assert model.training
    assert not any(isinstance(m, SynthesisedLayer) for m in folded.modules())
    assert not any("fusion" in n or "projection" in n for n in folded.state_dict())
    weights = {id(p) for p in folded.parameters()}
    assert not weights & {id(p) for p in model.parameters()}

    with torch.no_grad():  # a change of a neighbour no longer reaches the folded block
        kept = {n: p.clone() for n, p in folded.named_parameters()}
        for parameter in model.parameters():
            parameter.add_(1)
    assert all(torch.equal(p, kept[n]) for n, p in folded.named_parameters())
    model.load_state_dict(state)
    torch.testing.assert_close(evaluate(model, x), expected)
    again = pickle.loads(pickle.dumps(folded))
    assert torch.equal(evaluate(again, x), evaluate(folded, x))


@pytest.mark.parametrize("kind", NETWORKS)
def test_full_folds_into_the_architecture_it_came_from(kind: str):
    original = plain(kind)
    folded = Replacement(blocks=[3], operator="full").variants(
        Replacement(blocks=[3], operator="full").prepare(copy.deepcopy(original))
    )["folded"]
    original.load_state_dict(folded.state_dict())  # strict: same names and shapes
    assert torch.equal(evaluate(original, x := images()), evaluate(folded, x))
    assert [type(m) for m in original.modules()] == [type(m) for m in folded.modules()]


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_mixed_precision_and_channels_last_train(kind: str, operator: str):
    model, x = prepared(kind, operator=operator).train(), images()
    model = model.to(memory_format=torch.channels_last)
    x = x.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(x, torch.tensor([0, 1]), mode="loss")["loss"]
    loss.backward()
    gradients = [p.grad for p in model.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert any(g.abs().sum() > 0 for n, g in _fusion_gradients(model))


def _fusion_gradients(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [(n, p.grad) for n, p in model.named_parameters() if "parameter_fusion" in n]


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_graph_compiles_whole(operator: str):
    model, x = prepared(operator=operator).eval(), images()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x))


def macs(model: BaseModel) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.randn(1, 3, 16, 16))
    return counter.get_total_flops() // 2


def test_light_saves_operations_and_full_saves_none():
    baseline = macs(plain("basic"))
    assert macs(prepared("basic", operator="full")) == baseline
    one_convolution = 9 * 4 * 4 * 16 * 16
    assert macs(prepared("basic")) == baseline - one_convolution

    baseline = macs(plain("bottleneck"))
    assert macs(prepared("bottleneck", operator="full")) == baseline
    middle_convolution = 9 * 64 * 64 * 4 * 4
    assert macs(prepared("bottleneck")) == baseline - middle_convolution


def test_light_transformer_saves_the_other_half():
    tokens, width, hidden = 5, 8, 12
    model = plain("vit").train()

    def train_macs(model: BaseModel) -> int:  # in training: the fused evaluation is not counted
        with FlopCounterMode(display=False) as counter:
            model.train()(torch.randn(1, 3, 16, 16))
        return counter.get_total_flops() // 2

    baseline = train_macs(model)
    assert train_macs(prepared("vit")) == baseline - 2 * tokens * width * hidden
