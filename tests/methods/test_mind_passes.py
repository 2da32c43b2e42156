"""MIND on real networks: what must equal the plain network, and what the gradients must be."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from mmengine.model import BaseModel
from torch import nn
from torchvision.models import ResNet, SwinTransformer, VisionTransformer
from torchvision.models.resnet import Bottleneck

from benchmarks.meters.operations import count_macs
from methods.blocks import block_view
from methods.mind import Mind, executed
from methods.mind.controller import Plan, introspection_loss, nested_choice
from tasks.classification.classifier import Classifier
from tasks.classification.models.zoo import build_backbone
from tasks.errors import UserError
from tasks.registry import build


def network(arch: str) -> nn.Module:
    if arch == "bottleneck":
        return ResNet(Bottleneck, [2, 1, 1, 1], num_classes=10)
    if arch == "vit":
        vit = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=10)
        nn.init.normal_(vit.heads.head.weight)
        return vit
    if arch == "swin":
        return SwinTransformer([4, 4], 16, [2, 2], [2, 2], [4, 4], num_classes=10)
    if arch == "wrn":
        return build_backbone("wrn_16_1", 10, 3, 32)
    return build_backbone(arch, 10, 3, 32)


def classifier(arch: str = "cifar_resnet8", seed: int = 0) -> BaseModel:
    torch.manual_seed(seed)
    return Classifier(network(arch))


def batch(images: int = 4, seed: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "inputs": torch.randn(images, 3, 32, 32, generator=generator),
        "data_samples": torch.randint(0, 10, (images,), generator=generator),
    }


def minded(model: BaseModel, **options) -> BaseModel:
    return Mind(**options).prepare(copy.deepcopy(model))


def force(model: BaseModel, choice: float) -> BaseModel:
    """Make the introspection network choose all blocks (choice above 0) or none."""
    last = model.mind.introspection.mlp[-1]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, choice)
    return model


def after_a_step(model: BaseModel, seed: int = 7) -> dict[str, torch.Tensor]:
    """Task loss, gradients and buffers of the backbone after one pass in training mode."""
    model.train()
    torch.manual_seed(seed)
    loss = model(**batch(), mode="loss")["loss"]
    loss.backward()
    state = {f"grad {n}": p.grad for n, p in model.backbone.named_parameters()}
    state |= {f"buffer {n}": b for n, b in model.backbone.named_buffers()}
    return {"loss": loss.detach(), **state}


@pytest.mark.parametrize(
    "arch", ["cifar_resnet8", "wrn", "mind_cnn", "mobilenet_v2", "vit", "swin"]
)
@pytest.mark.parametrize("control", ["spectral", "damping", "none"])
def test_an_all_zero_mask_is_the_baseline_outputs_and_gradients(arch, control):
    plain = classifier(arch)
    if arch in ("mobilenet_v2", "swin"):  # draws of their own would differ after the mask's
        plain.backbone.apply(lambda m: setattr(m, "p", 0.0) if hasattr(m, "p") else None)
    baseline = minded(plain, mode="none", norm_control=control)
    unchosen = force(minded(plain, norm_control=control), -100.0)
    # Without a norm on the branch the baseline is the untouched network.
    pairs = (
        [(unchosen, baseline)] if control == "spectral" else [(unchosen, plain), (baseline, plain)]
    )
    for model, other in pairs:
        other, inputs = copy.deepcopy(other), batch()["inputs"]
        assert torch.equal(model.eval()(inputs), other.eval()(inputs))
        expected, found = after_a_step(other), after_a_step(model)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(found[key], value), key


@pytest.mark.parametrize("arch", ["cifar_resnet8", "wrn", "bottleneck", "vit"])
def test_one_step_is_the_plain_block(arch):
    plain = classifier(arch)
    for control in ("spectral", "damping"):
        model = minded(plain, mode="fixed", k_max=1, norm_control=control)
        baseline = minded(plain, mode="none", norm_control=control)
        expected, found = after_a_step(baseline), after_a_step(model)
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_the_branch_that_is_iterated_is_the_one_that_a_plain_pass_uses():
    """One map: s g(z), with the same s in every pass, in training and after."""
    for mode in ("none", "fixed"):
        model = minded(classifier(), mode=mode, k_max=4)
        model.train()(**batch(), mode="loss")
        model.eval()
        block, seen = model.mind.wrapped[0], []
        module, branch = block.module, block.branch_ends[0]
        factor = float((0.9 / model.mind.norms[0].sigma).clamp(max=1))
        assert 0 < factor < 0.5
        x = torch.randn(2, block.in_channels, 8, 8).abs()
        handle = branch.register_forward_hook(lambda m, i, out, seen=seen: seen.append(out.clone()))
        with torch.no_grad():
            assert torch.allclose(module(x), (x + factor * seen[-1]).relu(), atol=1e-6)
            if mode == "fixed":
                model.mind.plan = model.mind.choose(model.backbone, torch.zeros(2, 1))
                found, start = module(x), len(seen)
                model.mind.plan = None
                z = x
                for _ in range(4):
                    type(module).forward(module, z)
                    z = (x + factor * seen[-1]).relu()
                assert torch.allclose(found, z, atol=1e-6)
                assert start == 1 + 4
        handle.remove()


def test_blocks_that_were_not_chosen_are_exactly_plain_in_a_mixed_batch():
    plain = minded(classifier(), mode="none").eval()
    model = minded(classifier(), mode="random", rate=0.5).eval()
    inputs = batch(32)["inputs"]
    out = model(inputs)
    chosen = model.mind.last.chosen.any(1)
    assert 4 < int(chosen.sum()) < 28
    difference = (out - plain(inputs)).abs().amax(1)
    assert torch.equal(difference[~chosen], torch.zeros(int((~chosen).sum())))
    assert (difference[chosen] > 1e-4).all()


@pytest.mark.parametrize("arch", ["cifar_resnet8", "bottleneck", "wrn", "mind_cnn"])
def test_the_steps_are_those_of_the_injected_map(arch):
    # Five steps by hand: the branch alone, by taking the shortcut off again.
    model = minded(classifier(arch), mode="fixed", k_max=5, blocks=None, norm_control="damping")
    model.eval()
    wrapped = model.mind.wrapped[0]
    module, act = wrapped.module, wrapped.kind in ("basic", "bottleneck") and arch != "mind_cnn"
    x = torch.randn(3, wrapped.in_channels, 8, 8).abs()
    branch_out = []
    handle = wrapped.branch_ends[0].register_forward_hook(
        lambda m, i, out: branch_out.append(out.clone())
    )
    z = x
    with torch.no_grad():
        for step in range(5):
            type(module).forward(module, z)
            new = x + branch_out[-1]
            new = new.relu() if act else new
            z = new if step == 0 else 0.5 * z + 0.5 * new
        handle.remove()
        plan = model.mind.choose(model.backbone, torch.zeros(3, 1))
        model.mind.plan = plan
        found = module(x)
        model.mind.plan = None
    assert torch.allclose(found, z, atol=1e-5)
    assert plan.iterations[:, 0].tolist() == [5, 5, 5]


def test_the_steps_of_a_transformer_block_are_those_of_its_whole_residual():
    options = {"norm_control": "damping", "damping": 0.3}
    model = minded(classifier("vit"), mode="fixed", k_max=4, **options).eval()
    module = model.mind.wrapped[0].module
    x = torch.randn(2, 17, 16)
    with torch.no_grad():
        z = type(module).forward(module, x)
        for _ in range(3):
            z = 0.7 * z + 0.3 * (x + type(module).forward(module, z) - z)
        model.mind.plan = model.mind.choose(model.backbone, torch.zeros(2, 1))
        assert torch.allclose(module(x), z, atol=1e-5)


def test_the_phantom_gradient_is_one_step_of_autograd_at_the_fixed_point():
    model = minded(classifier(), mode="random", rate=1.0, epsilon=1e-9, k_max=60).eval()
    block = model.mind.wrapped[0]
    module = block.module
    x = torch.randn(2, block.in_channels, 8, 8).abs().requires_grad_()
    with model.mind.following_weights():
        pass
    model.mind.plan = model.mind.choose(model.backbone, torch.zeros(2, 1))
    out = module(x)
    model.mind.plan = None
    star = out.detach()
    weights = torch.randn_like(star)
    parameters = list(module.parameters())
    found = torch.autograd.grad((out * weights).sum(), [x, *parameters])

    scale = model.mind.scale(0)
    branch = module.bn2(module.conv2(module.bn1(module.conv1(star)).relu()))
    once = (x + scale * branch).relu()
    assert torch.allclose(once, star, atol=1e-6)
    expected = torch.autograd.grad((once * weights).sum(), [x, *parameters])
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("arch", ["cifar_resnet8", "wrn", "bottleneck"])
def test_with_spectral_norm_a_random_relu_block_converges_in_about_a_dozen_steps(arch):
    options = {"mode": "random", "rate": 1.0, "epsilon": 1e-5, "k_max": 100}
    model = minded(classifier(arch), **options).eval()
    model(batch(8)["inputs"])
    assert model.mind.last.converged.all()
    assert 3 <= model.mind.last.iterations.mean() <= 16
    free = minded(classifier(arch), norm_control="none", **{**options, "k_max": 40}).eval()
    free(batch(8)["inputs"])
    assert not free.mind.last.converged.all()


def test_the_branch_bound_is_the_product_of_the_layers_true_norms():
    narrow = Classifier(build_backbone("cifar_resnet8", 10, 3, 32, {"width": 4}))
    model = minded(narrow, mode="random").eval()
    block = model.mind.wrapped[0]
    with torch.no_grad():
        block.module.bn1.running_var.uniform_(0.2, 3.0)
        block.module.bn2.weight.uniform_(-2.0, 2.0)
    model.mind.norms[0].update(block, 200)
    side, product = 16, 1.0
    for conv, norm in (
        (block.module.conv1, block.module.bn1),
        (block.module.conv2, block.module.bn2),
    ):
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        basis = torch.eye(conv.in_channels * side * side).view(-1, conv.in_channels, side, side)
        with torch.no_grad():
            matrix = (conv(basis) * factor.view(1, -1, 1, 1)).flatten(1)
            product *= float(torch.linalg.eigvalsh(matrix @ matrix.T)[-1]) ** 0.5
    assert float(model.mind.norms[0].sigma) == pytest.approx(product, rel=0.02)


def test_running_statistics_move_once_a_training_step_however_many_iterations():
    model = minded(classifier(), mode="fixed", k_max=6).train()
    norm = model.mind.wrapped[0].module.bn1
    model(**batch(), mode="loss")
    assert int(norm.num_batches_tracked) == 1
    assert model.mind.last.iterations.max() == 6


def test_compaction_does_not_change_the_network():
    outs = []
    inputs = batch(16)["inputs"] * torch.logspace(-2, 2, 16).view(-1, 1, 1, 1)
    for compaction in (True, False):
        options = {"epsilon": 1e-4, "k_max": 40, "compaction": compaction}
        model = minded(classifier("wrn"), mode="random", rate=0.7, **options)
        outs.append(model.eval()(inputs))
        iterations = model.mind.last.iterations[model.mind.last.chosen]
        assert iterations.min() < iterations.max()
    assert torch.allclose(*outs, atol=1e-4, rtol=1e-4)


def test_the_introspection_loss_reaches_the_introspection_network_alone():
    model = force(minded(classifier()), 5.0).train()
    model(**batch(), mode="loss")["loss_introspection"].backward()
    touched = {name for name, p in model.named_parameters() if p.grad is not None}
    assert touched
    assert all(name.startswith("mind.introspection.") for name in touched)


def test_the_task_loss_teaches_the_introspection_network_by_what_iterating_changed():
    model = force(minded(classifier()), 5.0).train()
    model(**batch(), mode="loss")["loss"].backward()
    assert model.mind.introspection.mlp[-1].bias.grad.abs().sum() > 0


def mask_gradient(model: BaseModel, bias: float) -> torch.Tensor:
    """The gradient of the task loss on the mask of a batch, where every block has one choice."""
    model = force(model, bias).train()
    masks = []

    def keep(module, inputs, out):
        out.retain_grad()
        masks.append(out)

    model.mind.introspection.register_forward_hook(keep)
    torch.manual_seed(0)
    model(**batch(), mode="loss")["loss"].backward()
    return masks[-1].grad


@pytest.mark.parametrize("control", ["spectral", "damping"])
def test_blocks_that_were_not_chosen_feel_what_iterating_would_change(control):
    model = minded(classifier("wrn"), norm_control=control)
    for bias in (-5.0, 5.0):
        gradient = mask_gradient(copy.deepcopy(model), bias)
        assert (gradient.abs().sum(0) > 0).all()


def test_a_branch_that_does_not_depend_on_its_input_gives_the_mask_no_gradient():
    model = minded(classifier())
    block = model.mind.wrapped[0].module
    nn.init.zeros_(block.conv2.weight)
    nn.init.constant_(block.bn2.bias, 0.3)  # the branch is a constant
    for bias in (-5.0, 5.0):
        assert mask_gradient(copy.deepcopy(model), bias).abs().max() == 0


def test_the_gradient_of_the_mask_is_the_slope_of_the_loss_between_both_outcomes():
    """By finite differences, in evaluation mode, where both outcomes are what is computed."""
    model = force(minded(classifier(), epsilon=1e-9, k_max=30), 5.0).eval()
    block = model.mind.wrapped[0]
    with model.mind.following_weights():
        pass
    x = torch.randn(3, block.in_channels, 8, 8).abs()
    weights = torch.randn_like(x)
    outcomes = []
    for choice in (0.0, 1.0):
        mask = torch.full((3, 1), choice, requires_grad=True)
        model.mind.plan = Plan(
            mask, torch.ones(3, 1), torch.zeros(3, 1, dtype=torch.bool), torch.ones(3, 1)
        )
        out = block.module(x)
        (gradient,) = torch.autograd.grad((out * weights).sum(), mask)
        outcomes.append((out.detach(), gradient))
        assert (model.mind.plan.steps > 3).all()
        assert (model.mind.plan.iterations > 3).all() == bool(choice)
    model.mind.plan = None
    change = ((outcomes[1][0] - outcomes[0][0]) * weights).sum((1, 2, 3))
    for _, gradient in outcomes:
        assert torch.allclose(gradient[:, 0], change, rtol=1e-3, atol=1e-5)


def test_the_introspection_loss_by_hand():
    mask = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    iterations = torch.tensor([[3.0, 1.0], [2.0, 5.0]])
    costs, weights = torch.tensor([1.0, 3.0]), torch.tensor([0.5, 2.0])
    # cost: 3 * 1/4 and 2 * 1/4 + 5 * 3/4; weighted choice .5 and 2.5; number of layers 1 and 2.
    expected = (0.2 * 0.75 + 0.2 * 0.5 + 0.1 * 1 + 0.2 * 4.25 + 0.2 * 2.5 + 0.1 * 2) / 2
    found = introspection_loss(mask, iterations, costs, weights, 0.2, 0.2, 0.1)
    assert float(found) == pytest.approx(expected)


def test_the_nested_choice_is_the_number_of_blocks():
    logits = torch.tensor([[9.0, 0, 0, 0], [0, 9.0, 0, 0], [0, 0, 0, 9.0]])
    expected = [[0, 0, 0], [1, 0, 0], [1, 1, 1]]
    assert nested_choice(logits, 1.0, draw=False).tolist() == expected


def test_nested_masks_hold_the_first_blocks():
    model = minded(classifier("wrn"), selection="nested").train()
    sizes = set()
    for seed in range(6):
        torch.manual_seed(seed)
        model(**batch(8), mode="loss")
        chosen = model.mind.last.chosen.int()
        assert torch.equal(chosen, chosen.cummin(1).values)
        sizes |= set(chosen.sum(1).tolist())
    assert len(sizes) > 2


def test_pretrained_weights_load_and_backbone_names_stay():
    plain, model = classifier(seed=3), minded(classifier(seed=4), norm_control="damping")
    assert model.backbone.state_dict().keys() == plain.backbone.state_dict().keys()
    model.backbone.load_state_dict(plain.backbone.state_dict())
    inputs = batch()["inputs"]
    assert torch.equal(force(model, -100.0).eval()(inputs), plain.eval()(inputs))


def test_copies_pickles_and_loaded_states_give_the_same_and_are_independent():
    model = force(minded(classifier()), 5.0).train()
    model(**batch(), mode="loss")  # norms known, statistics moved
    model.eval()
    inputs = batch(seed=2)["inputs"]
    expected = model(inputs)
    fresh = minded(classifier(seed=9))
    fresh.load_state_dict(model.state_dict())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), fresh.eval()):
        assert torch.equal(twin(inputs), expected)
        with torch.no_grad():
            twin.backbone.layer2[0].conv1.weight.mul_(2)
            twin.backbone.layer1[0].conv1.weight.mul_(2)
        assert not torch.equal(twin(inputs), expected)
    assert torch.equal(model(inputs), expected)


def test_inference_without_gradient_equals_inference_with_it():
    model = force(minded(classifier()), 5.0).eval()
    inputs = batch()["inputs"]
    expected = model(inputs).detach()
    with torch.no_grad():
        assert torch.equal(model(inputs), expected)
    with torch.inference_mode():
        assert torch.equal(model(inputs), expected)
    model.train()
    with torch.no_grad():
        assert model(inputs).shape == expected.shape


def test_executed_macs_are_what_the_counter_sees():
    method = Mind(k_max=5)
    model = force(method.prepare(classifier("wrn")), 5.0).train()
    model(**batch(), mode="loss")
    model.eval()
    one = batch(1)
    for name, network in method.variants(model).items():
        ((_, done, _),) = executed(network, [one])
        assert done.macs.tolist() == [count_macs(network, one["inputs"])], name
    plain = count_macs(classifier("wrn"), one["inputs"])
    ((_, done, _),) = executed(method.variants(model)["mask=none"], [one])
    assert done.macs.tolist() == [plain]


def test_a_random_mask_depends_on_the_image_and_not_on_its_place_in_a_batch():
    model = Mind(mode="random", rate=0.5).prepare(classifier("wrn")).eval()
    inputs = batch(16)["inputs"]
    model(inputs)
    chosen = model.mind.last.chosen
    assert 0 < chosen.double().mean() < 1
    assert len(chosen.unique(dim=0)) > 1
    for image, mask in zip(inputs, chosen, strict=True):
        model(image[None])
        assert torch.equal(model.mind.last.chosen[0], mask)


def test_analysis_sorts_images_by_the_entropy_of_their_prediction():
    class Answers(nn.Module):
        """Logits as sharp as the first pixel says, for class 0."""

        def __init__(self):
            super().__init__()
            self.inner = network("cifar_resnet8")

        def forward(self, x):
            self.inner(x)
            return x[:, 0, 0, :1] * torch.eye(10)[0]

        def block_view(self):
            return block_view(self.inner)

    method = Mind(mode="random", rate=1.0, k_max=3)
    model = method.prepare(Classifier(Answers())).eval()
    inputs = torch.randn(9, 3, 32, 32)
    inputs[:, 0, 0, 0] = torch.tensor([1.0, 9, 5, 2, 8, 6, 3, 7, 4])
    labels = torch.where(inputs[:, 0, 0, 0] > 6, 0, torch.where(inputs[:, 0, 0, 0] > 3, 0, 1))
    labels[2] = 1  # one of the medium ones is wrong
    batches = [
        {"inputs": inputs[:5], "data_samples": labels[:5]},
        {"inputs": inputs[5:], "data_samples": labels[5:]},
    ]
    found = method.analyse("full", model, batches)
    assert found["top1@easy"] == 100
    assert found["top1@medium"] == pytest.approx(200 / 3)
    assert found["top1@hard"] == 0
    assert found["selection_rate"] == 100
    assert found["iterations"] <= 3
    assert {name for name in found if name.startswith("macs")} == {
        f"macs_of_choices@{tercile}" for tercile in ("easy", "medium", "hard")
    }
    inputs[3, 0, 0, 0] = float("nan")
    found = method.analyse("full", model, batches)
    assert all(math.isnan(value) for name, value in found.items() if "@" in name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": [2]}, "block 2 cannot be iterated.*those that can are 1"),
        ({"blocks": [9]}, "no block 9"),
        ({"blocks": []}, "blocks is empty"),
        ({"mode": "learnt"}, "did you mean 'learned'"),
        ({"norm": 1.5}, "norm must be between 0 and 1"),
        ({"k_max": 0}, "k_max must be at least 1"),
        ({"layer_weights": [1.0, 2.0]}, "2 numbers, but 1 blocks"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        build("mind", Mind, options).prepare(classifier())


def test_a_network_without_a_block_that_keeps_its_shape_is_refused():
    plain = classifier()
    for block in block_view(plain):
        if block.shape_preserving:
            block.drop()
    with pytest.raises(UserError, match="needs residual blocks"):
        Mind().prepare(plain)


def test_the_paper_preset_and_what_overrides_it():
    assert Mind().limits == (1e-3, 8)
    assert Mind(preset="paper").limits == (1e-5, 100)
    assert Mind(preset="paper", k_max=20).limits == (1e-5, 20)


@pytest.mark.parametrize(("family", "moves"), [("classification", 1), ("detection", 0)])
def test_norms_of_detectors_are_frozen(family, moves):
    class AnyTask:
        headline = "top1"

    AnyTask.family = family
    method = Mind(mode="random", rate=1.0)
    method.setup(AnyTask())
    model = method.prepare(classifier()).train()
    model(**batch(), mode="loss")
    tracked = [m for m in model.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {int(norm.num_batches_tracked) for norm in tracked} == {moves}
