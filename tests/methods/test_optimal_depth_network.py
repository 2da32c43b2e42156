"""Networks with an exit behind each block: sizes, truncation, the warm-up step."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from methods.optimal_depth import OptimalDepth, depth_network, truncate
from tasks.classification.classifier import Classifier
from tasks.classification.models.zoo import build_backbone
from tasks.errors import UserError

# Parameters by depth in millions, 10 classes, 3 input channels.
PARAMETERS = {
    18: [0.076, 0.150, 0.381, 0.677, 1.597, 2.778, 6.453, 11.174],
    34: [
        *(0.076, 0.150, 0.224, 0.455, 0.751, 1.046, 1.342, 2.262),
        *(3.443, 4.623, 5.804, 6.985, 8.165, 11.841, 16.561, 21.282),
    ],
    50: [
        *(0.079, 0.150, 0.220, 0.602, 0.882, 1.162, 1.442, 2.960),
        *(4.077, 5.194, 6.311, 7.429, 8.546, 14.596, 19.058, 23.521),
    ],
}


def classifier(arch: str = "cifar_resnet8", classes: int = 10, channels: int = 3, **options):
    torch.manual_seed(0)
    return Classifier(build_backbone(arch, classes, channels, 32, options))


def batch(images: int = 4):
    generator = torch.Generator().manual_seed(1)
    return {
        "inputs": torch.randn(images, 3, 32, 32, generator=generator),
        "data_samples": torch.randint(0, 10, (images,), generator=generator),
    }


def size(module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("layers", [18, 34, 50])
@pytest.mark.parametrize("channels", [1, 3])
def test_parameters_by_depth_are_the_published_ones(layers, channels):
    with torch.device("meta"):
        model = classifier(f"resnet{layers}_cifar_stem", channels=channels)
        network = depth_network(model)
        found = [size(network.truncated(depth)) for depth in range(1, len(network.blocks) + 1)]
    less = 1152 if channels == 1 else 0  # 64 filters of 3x3 on two channels fewer
    assert [f"{(n + less) / 1e6:.3f}" for n in found] == [f"{n:.3f}" for n in PARAMETERS[layers]]
    assert found[-1] == size(model)  # the last exit has the shape of the network's own head


def test_an_emnist_exit_has_26_classes():
    with torch.device("meta"):
        network = depth_network(classifier("resnet18_cifar_stem", classes=26))
        few = depth_network(classifier("resnet18_cifar_stem"))
    assert size(network.truncated(3)) - size(few.truncated(3)) == 16 * (128 + 1)


@pytest.mark.parametrize("arch", ["cifar_resnet14", "wrn_16_1", "resnet18_cifar_stem"])
def test_the_exported_network_computes_what_the_whole_one_does_at_that_depth(arch):
    model = OptimalDepth(target_accuracy=90).prepare(classifier(arch)).eval()
    inputs = batch(2)["inputs"]
    network = model.backbone
    for depth in (1, 2, len(network.blocks)):
        network.set_depth(depth)
        exported = pickle.loads(pickle.dumps(truncate(model, depth)))
        assert torch.equal(exported(inputs), model(inputs))
        assert not exported.training
        assert len(exported.backbone.blocks) == depth
        # Exactly what the depth trains, and nothing of the rest.
        trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
        assert size(exported) == trained
        with torch.no_grad():
            exported.backbone.stem.conv1.weight.zero_()
        assert not torch.equal(exported(inputs), model(inputs))


def test_exits_of_preactivation_blocks_normalise_first():
    network = depth_network(classifier("wrn_16_1"))
    assert [type(m).__name__ for m in network.exits[0]][:2] == ["BatchNorm2d", "ReLU"]
    with_head = classifier("wrn_16_1")
    assert size(network.truncated(6)) == size(with_head)


def test_a_warmup_step_adds_the_gradients_of_all_depths_and_steps_once():
    method = OptimalDepth(target_accuracy=90)
    model = method.prepare(classifier("cifar_resnet14")).train()
    for module in model.modules():  # each pass moves the statistics, which no gradient sees
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.0
    next(method.phases(model))
    by_hand = copy.deepcopy(model)
    wrapper = build_optim_wrapper(
        model, {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}}
    )
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    out = method.train_step(model, batch(), wrapper)

    total, losses = {}, []
    depths = len(by_hand.backbone.blocks)
    for depth in range(1, depths + 1):
        by_hand.zero_grad()
        by_hand.backbone.depth = depth
        loss = by_hand(**batch(), mode="loss")["loss"]
        loss.backward()
        losses.append(loss.item())
        for name, p in by_hand.named_parameters():
            if p.grad is not None:
                total[name] = total.get(name, 0) + p.grad
    assert total.keys() == before.keys()
    for name, p in model.named_parameters():
        assert torch.allclose(before[name] - p, 0.1 * total[name], atol=1e-5), name
        assert p.grad is None
    assert out["loss"].item() == pytest.approx(sum(losses) / depths, rel=1e-5)
    assert model.backbone.depth == depths


def test_gradients_of_accumulated_batches_and_depths_all_add_up():
    method = OptimalDepth(target_accuracy=90)
    model = method.prepare(classifier()).train()
    next(method.phases(model))
    config = {
        "type": "OptimWrapper",
        "optimizer": {"type": "SGD", "lr": 0.1},
        "accumulative_counts": 2,
    }
    wrapper = build_optim_wrapper(model, config)
    wrapper.initialize_count_status(model, 0, 4)
    before = copy.deepcopy(model.state_dict())
    weight = "backbone.stem.conv1.weight"
    moved = []
    for _ in range(4):
        method.train_step(model, batch(), wrapper)
        moved.append(not torch.equal(model.state_dict()[weight], before[weight]))
        before = copy.deepcopy(model.state_dict())
    assert moved == [False, True, False, True]


def test_a_depth_trains_only_what_it_uses():
    model = OptimalDepth(target_accuracy=90).prepare(classifier()).train()
    model.backbone.set_depth(2)
    model(**batch(), mode="loss")["loss"].backward()
    graded = {n for n, p in model.backbone.named_parameters() if p.grad is not None}
    assert {n.split(".")[0] + n.split(".")[1] for n in graded if n[:4] != "stem"} == {
        "blocks0",
        "blocks1",
        "exits1",
    }


@pytest.mark.parametrize("arch", ["mobilenet_v2", "mind_cnn", "densenet121"])
def test_networks_without_a_row_of_blocks_are_refused(arch):
    with torch.device("meta"), pytest.raises(UserError, match=r"ResNet|block view"):
        OptimalDepth(target_accuracy=90).prepare(classifier(arch))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs target_accuracy"),
        ({"target_accuracy": 0.95}, "in %"),
        (
            {"target_accuracy": 90, "max_depth": 9},
            "max_depth .* 1 to 3.* got max_depth=9",
        ),
        ({"target_accuracy": 90, "min_depth": 3, "max_depth": 2}, "min_depth=3 is above"),
        ({"target_accuracy": 90, "patience": 0}, "patience must be at least 1"),
        ({"target_accuracy": 90, "decay": 0.0}, "decay must be"),
        ({"fixed_depth": 4}, "fixed_depth=4"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        OptimalDepth(**options).prepare(classifier())


def test_a_task_without_classes_is_refused():
    class Detection:
        family = "detection"

    with pytest.raises(UserError, match="no meaning for detection"):
        OptimalDepth(target_accuracy=90).setup(Detection())
