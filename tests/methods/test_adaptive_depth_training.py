"""The training step against gradients written out by hand, and on real digits."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision.models as zoo
from hypothesis import given
from hypothesis import strategies as st
from learning import Digits, train
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from benchmarks.engine.optim import AutocastOptimWrapper
from methods.adaptive_depth import AdaptiveDepth
from methods.adaptive_depth.distillation import distillation_kl
from methods.adaptive_depth.subnets import stochastic_depth_off
from tasks.classification.classifier import Classifier
from tasks.classification.models.zoo import build_backbone
from tasks.errors import UserError
from tasks.registry import build


def prepared(depth: int = 14, classes: int = 10, **options: Any) -> tuple[AdaptiveDepth, Any]:
    torch.manual_seed(0)
    method = AdaptiveDepth(**options)
    network = build_backbone(f"cifar_resnet{depth}", classes, 1, 8, {"width": 4})
    return method, method.prepare(Classifier(network)).train()


def batch(seed: int, classes: int = 10) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (12,), generator=generator)
    return {"inputs": torch.randn(12, 1, 8, 8, generator=generator), "data_samples": labels}


class Scaled(OptimWrapper):
    """Scales the loss as mixed precision does, and keeps the gradients that steps are made with."""

    scale = 1024.0

    def __init__(self, model: nn.Module, **options: Any) -> None:
        super().__init__(torch.optim.SGD(model.parameters(), lr=0.0), **options)
        self.model = model
        self.steps: list[dict[str, Tensor | None]] = []

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        super().backward(loss * self.scale, **kwargs)

    def step(self, **kwargs: Any) -> None:
        self.steps.append(
            {
                name: None if p.grad is None else p.grad / self.scale
                for name, p in self.model.named_parameters()
            }
        )
        super().step(**kwargs)


def by_hand(model: Classifier, data: dict[str, Tensor], alpha: float, temperature: float) -> Tensor:
    """Algorithm 1 in one go: both passes, the whole loss, nothing detached but the teacher."""

    def passes(skip: bool) -> tuple[Tensor, list[Tensor]]:
        net = model.backbone
        net.set_skip([skip] * 3)
        x, features = net.relu(net.bn1(net.conv1(data["inputs"]))), []
        for stage in (net.layer1, net.layer2, net.layer3):
            x = stage(x)
            features.append(x.mean((2, 3)))
        return net.fc(net.avgpool(x).flatten(1)), features

    def kl(teacher: Tensor, student: Tensor) -> Tensor:
        p, q = ((t / temperature).softmax(1) for t in (teacher.detach(), student))
        return temperature**2 * (p * (p / q).log()).sum() / len(p)

    logits, teacher = passes(False)
    guess, student = passes(True)
    base = kl(logits, guess) + sum(map(kl, teacher, student))
    model.backbone.set_skip([False] * 3)
    return alpha * F.cross_entropy(logits, data["data_samples"]) + (1 - alpha) * base


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor | None]:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return {n: g for (n, _), g in zip(model.named_parameters(), found, strict=True)}


def test_a_step_has_the_gradient_of_the_whole_loss() -> None:
    method, model = prepared(alpha=0.3, temperature=4.0)
    loss = by_hand(twin := copy.deepcopy(model), batch(1), 0.3, 4.0)
    expected = gradients(twin, loss)
    wrapper = Scaled(model)
    logged = method.train_step(model, batch(1), wrapper)
    (taken,) = wrapper.steps
    assert all(gradient is not None for gradient in taken.values())
    torch.testing.assert_close(taken, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(logged["loss"], loss.detach())
    parts = logged["loss_base_output"] + logged["loss_base_features"]
    torch.testing.assert_close(logged["loss_base"], parts)
    torch.testing.assert_close(
        logged["loss"], 0.3 * logged["loss_super"] + 0.7 * logged["loss_base"]
    )
    assert not any(value.requires_grad for value in logged.values())
    assert model.backbone.switch.skip == (False,) * 3
    assert all(parameter.grad is None for parameter in model.parameters())


def test_accumulated_batches_make_one_step_with_their_mean_gradient() -> None:
    method, model = prepared()
    wrapper = Scaled(model, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 5)
    halves = []
    for seed in (1, 2):
        twin = copy.deepcopy(model)
        halves.append(gradients(twin, by_hand(twin, batch(seed), 0.5, 1.0)))
    for number, seed in enumerate((1, 2, 1, 2, 1), start=1):
        method.train_step(model, batch(seed), wrapper)
        assert len(wrapper.steps) == {1: 0, 2: 1, 3: 1, 4: 2, 5: 3}[number]
    for name, gradient in wrapper.steps[0].items():
        expected = (halves[0][name] + halves[1][name]) / 2
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    # The fifth batch is what is left over: a step of its own, with its whole gradient.
    torch.testing.assert_close(wrapper.steps[2], halves[0], rtol=1e-4, atol=1e-6)


def test_bfloat16_takes_the_same_step_roughly() -> None:
    method, model = prepared()
    twin = copy.deepcopy(model)
    plain = method.train_step(model, batch(1), OptimWrapper(torch.optim.SGD(model.parameters(), 1)))
    wrapper = AutocastOptimWrapper(torch.optim.SGD(twin.parameters(), 1))
    mixed = method.train_step(twin, batch(1), wrapper)
    assert all(value.dtype == torch.float32 for value in mixed.values())
    torch.testing.assert_close(mixed, plain, rtol=0.1, atol=0.01)
    start, full, half = (
        nn.utils.parameters_to_vector(network.parameters()).detach()
        for network in (prepared()[1], model, twin)
    )
    assert (full - half).norm() < 0.2 * (full - start).norm()


def test_each_pass_trains_its_own_norms() -> None:
    _, model = prepared()
    data = batch(1)
    for skip, own, other in ((False, ".full.", ".skip."), (True, ".skip.", ".full.")):
        model.backbone.set_skip([skip] * 3)
        before = copy.deepcopy(model.state_dict())
        found = gradients(model, model(**data, mode="loss")["loss"])
        changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
        for name, gradient in found.items():
            assert (gradient is None) == (other in name or (skip and ".block." in name)), name
        assert any(own in key for key in changed)
        assert not any(other in key or (skip and ".block." in key) for key in changed)


def test_a_stage_that_always_runs_whole_is_not_distilled() -> None:
    torch.manual_seed(0)
    method = AdaptiveDepth()
    network = build_backbone("cifar_resnet14", 10, 1, 8, {"width": 4})
    network.layer3 = nn.Sequential(network.layer3[0])
    model = method.prepare(Classifier(network)).train()
    logged = method.train_step(model, batch(1), Scaled(model))
    expected = 0.0
    for stage in (network.layer1, network.layer2):
        pooled = []
        for skip in (False, True):
            network.set_skip([skip] * 2)
            pooled.append(output_of(model, stage[-1], batch(1)["inputs"], channels=1))
        expected += distillation_kl(*pooled).item()
    assert logged["loss_base_features"].item() == pytest.approx(expected, rel=1e-4)


def test_outputs_only_leaves_the_features_out() -> None:
    method, model = prepared(feature_kl=False)
    logged = method.train_step(model, batch(1), Scaled(model))
    assert "loss_base_features" not in logged
    assert logged["loss_base"] == logged["loss_base_output"] > 0


def test_without_distillation_the_base_net_learns_from_the_labels() -> None:
    method, model = prepared(distillation=False, alpha=0.25)
    twin, data = copy.deepcopy(model), batch(1)
    losses = []
    for skip in (False, True):
        twin.backbone.set_skip([skip] * 3)
        losses.append(twin(**data, mode="loss")["loss"])
    loss = 0.25 * losses[0] + 0.75 * losses[1]
    wrapper = Scaled(model)
    logged = method.train_step(model, data, wrapper)
    torch.testing.assert_close(logged["loss"], loss.detach())
    torch.testing.assert_close(wrapper.steps[0], gradients(twin, loss), rtol=1e-4, atol=1e-6)


def vision_transformer(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "vit":
        return zoo.VisionTransformer(8, 4, 6, 2, 8, 16, num_classes=10)
    return zoo.SwinTransformer(
        [1, 1], 4, [2, 2], [1, 2], [2, 2], num_classes=10, stochastic_depth_prob=0.0
    )


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_transformers_distil_outputs_and_on_request_features(name: str) -> None:
    data = batch(1)
    data["inputs"] = data["inputs"].expand(-1, 3, -1, -1)
    for feature_kl in (None, True):
        method = AdaptiveDepth(feature_kl=feature_kl)
        model = method.prepare(Classifier(vision_transformer(name))).train()
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.5)
        logged = method.train_step(model, data, Scaled(model))
        assert ("loss_base_features" in logged) == bool(feature_kl)
    stages = model.backbone.features[1:4:2] if name == "swin" else model.backbone.encoder.layers
    stages = stages if name == "swin" else [stages[:3], stages[:6]]
    # Pooled over positions: the last dimension holds the channels.
    expected = 0.0
    for stage in stages:
        pooled = []
        for skip in (False, True):
            model.backbone.set_skip([skip] * 2)
            pooled.append(output_of(model, stage[-1], data["inputs"]))
        expected += distillation_kl(*pooled, topk="all").item()
    assert logged["loss_base_features"].item() == pytest.approx(expected, rel=1e-4)


def output_of(model: nn.Module, module: nn.Module, inputs: Tensor, channels: int = -1) -> Tensor:
    """What ``module`` puts out, the mean over all positions (N, channels)."""
    seen: list[Tensor] = []
    with module.register_forward_hook(lambda m, args, out: seen.append(out)), torch.no_grad():
        model(inputs)
    positions = [dim for dim in range(1, seen[0].dim()) if dim != channels % seen[0].dim()]
    return seen[0].mean(positions)


def test_stochastic_depth_is_off_for_the_base_net_only() -> None:
    network = zoo.SwinTransformer(
        [1, 1], 4, [2, 2], [1, 2], [2, 2], num_classes=10, stochastic_depth_prob=1.0
    )
    first = network.features[1][0]
    first.stochastic_depth.p = 1.0  # every branch is dropped: only the base pass can teach them
    method = AdaptiveDepth()
    model = method.prepare(Classifier(network)).train()
    data = batch(1)
    data["inputs"] = data["inputs"].expand(-1, 3, -1, -1)
    wrapper = Scaled(model)
    method.train_step(model, data, wrapper)
    taught = wrapper.steps[0]["backbone.features.1.0.attn.proj.weight"]
    assert taught is not None
    assert taught.abs().max() > 0
    assert first.stochastic_depth.p == 1.0
    twin = copy.deepcopy(model)
    found = gradients(twin, twin(**data, mode="loss")["loss"])
    assert not found["backbone.features.1.0.attn.proj.weight"].any()


def test_openmmlabs_drop_path_is_known_by_name() -> None:
    class DropPath(nn.Module):
        drop_prob = 0.3

    network = nn.Sequential(DropPath())
    with stochastic_depth_off(network):
        assert network[0].drop_prob == 0.0
    assert network[0].drop_prob == 0.3


def kl_by_hand(teacher: list[float], student: list[float], temperature: float) -> float:
    p, q = ([math.exp(z / temperature) for z in zs] for zs in (teacher, student))
    terms = [a / sum(p) * math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q, strict=True)]
    return temperature**2 * sum(terms)


def test_kl_by_hand() -> None:
    teacher = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]])
    student = torch.tensor([[0.3, 0.2, 1.0], [-1.0, 0.0, 2.0]])
    pairs = list(zip(teacher.tolist(), student.tolist(), strict=True))
    for temperature in (1.0, 4.0):
        rows = [kl_by_hand(*pair, temperature) for pair in pairs]
        value = distillation_kl(teacher, student, temperature)
        assert value.item() == pytest.approx(sum(rows) / 2, rel=1e-5)
    # The teacher's two best: classes 0 and 2 of the first image, 1 and 2 of the second.
    rows = [kl_by_hand([2.0, 0.5], [0.3, 1.0], 1.0), kl_by_hand([3.0, 1.0], [0.0, 2.0], 1.0)]
    assert distillation_kl(teacher, student, topk=2).item() == pytest.approx(sum(rows) / 2)


def test_only_five_hundred_of_more_classes_unless_all_are_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 4, 600, generator=generator)
    best = distillation_kl(teacher, student, topk=500)
    assert distillation_kl(teacher, student) == best
    assert distillation_kl(teacher, student, topk="all") != best
    few = distillation_kl(teacher[:, :500], student[:, :500])
    assert few == distillation_kl(teacher[:, :500], student[:, :500], topk="all")


@pytest.mark.parametrize("topk", ["all", 3])
def test_kl_gradient(topk: int | str) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 4, 6, dtype=torch.float64, generator=generator)
    teacher.requires_grad_()
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: distillation_kl(teacher, s, 2.0, topk), student)
    distillation_kl(teacher, student, 2.0, topk).backward()
    assert teacher.grad is None


@given(st.integers(0, 10_000), st.floats(0.5, 8), st.floats(-5, 5))
def test_kl_is_no_less_than_zero_and_blind_to_a_shift(
    seed: int, temperature: float, shift: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    teacher, student = torch.randn(2, 3, 7, dtype=torch.float64, generator=generator)
    value = distillation_kl(teacher, student, temperature)
    assert value >= 0
    torch.testing.assert_close(distillation_kl(teacher, student + shift, temperature), value)
    assert distillation_kl(teacher, teacher + shift, temperature).abs() < 1e-9


def test_compiled_steps_are_the_same() -> None:
    method, model = prepared()
    twin = copy.deepcopy(model)
    twin.compile(backend="eager")
    logged = []
    for network in (model, twin):
        wrapper = OptimWrapper(torch.optim.SGD(network.parameters(), 0.1))
        logged.append([method.train_step(network, batch(seed), wrapper) for seed in (1, 2)])
    torch.testing.assert_close(logged[0], logged[1])


def learnt(seed: int = 0, epochs: int = 8) -> tuple[dict[str, float], Any, dict[str, Tensor]]:
    """Accuracy of every sub-network, the model, and its state as training left it."""
    method = AdaptiveDepth()
    torch.manual_seed(seed)
    model = method.prepare(Classifier(build_backbone("cifar_resnet20", 10, 1, 8, {"width": 8})))
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    digits = Digits()
    train(method, model, OptimWrapper(sgd), lambda epoch: digits.batches(70), epochs)
    state = copy.deepcopy(model.state_dict())
    found = {name: digits.accuracy(each) for name, each in method.variants(model).items()}
    return found, model, state


def test_super_net_and_base_net_learn_digits_and_the_subnets_between_come_along() -> None:
    accuracy, model, before = learnt()
    # 8 seeds each, AVX-512 and AVX2: super 0.936 ± 0.010, base 0.933 ± 0.011, least 0.912 ± 0.011.
    assert accuracy["super"] > 0.85, accuracy
    assert min(accuracy.values()) > 0.8, accuracy
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1.0}, "alpha must lie between 0 and 1"),
        ({"temperature": 0}, "temperature must be above 0"),
        ({"topk": 0}, "topk must be a number of classes"),
        ({"topk": "most"}, "'topk' of adaptive_depth must be a whole number or one of"),
        ({"distillation": False, "feature_kl": True}, "part of the distillation"),
    ],
)
def test_impossible_options_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("adaptive_depth", AdaptiveDepth, options)


def test_more_teacher_classes_than_there_are_is_a_mistake() -> None:
    method, model = prepared(topk=11)
    with pytest.raises(UserError, match=r"fewer classes \(10\) than topk=11"):
        method.train_step(model, batch(1), Scaled(model))
    # Nothing is left behind by the step that failed.
    assert model.backbone.switch.skip == (False,) * 3
    assert not model.backbone.recorder.seen
