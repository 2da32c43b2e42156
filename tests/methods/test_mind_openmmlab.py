"""MIND on detectors and segmentors: the plain network, the losses, the norms and the ledger."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from openmmlab_models import batch, fcn, mask_rcnn, retinanet, upernet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.meters.operations import count_macs
from methods.blocks import block_view
from methods.mind import Mind, executed
from tasks.errors import UserError

Make = Callable[..., BaseModel]


def swin_retinanet(**options: Any) -> BaseModel:
    return retinanet(swin=True, **options)


MODELS: dict[str, Make] = {
    "retinanet": retinanet,
    "mask_rcnn": mask_rcnn,
    "fcn": fcn,
    "swin_retinanet": swin_retinanet,
    "upernet": upernet,
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))


def force(model: BaseModel, choice: float) -> BaseModel:
    """Make the introspection network choose all blocks (choice above 0) or none."""
    last = model.mind.introspection.mlp[-1]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, choice)
    return model


@torch.no_grad()
def macs(model: BaseModel, batches: list[Any]) -> list[float]:
    """Multiply-adds of the backbone that the choices for each image make."""
    return [each for _, done, _ in executed(model, batches) for each in done.macs.tolist()]


@torch.no_grad()
def features(model: BaseModel) -> list[Tensor]:
    model.eval()
    return list(model.extract_feat(IMAGES))


def losses(model: BaseModel, seed: int = 3) -> dict[str, Any]:
    model.train()
    torch.manual_seed(seed)
    return model(**model.data_preprocessor(batch(model), True), mode="loss")


@every_model
def test_an_all_zero_mask_is_the_plain_network(make):
    plain = make()
    for model in (
        Mind(mode="none").prepare(copy.deepcopy(plain)),
        force(Mind().prepare(copy.deepcopy(plain)), -100.0),
    ):
        for ours, theirs in zip(features(model), features(plain), strict=True):
            assert torch.equal(ours, theirs)
        names = dict(plain.named_parameters()).keys()
        assert names <= dict(model.named_parameters()).keys()


@every_model
def test_gradients_without_a_mask_are_those_of_the_plain_network(make):
    plain = make()
    model = Mind(mode="none", freeze_norms=False).prepare(copy.deepcopy(plain))
    for network in (plain, model):
        network.parse_losses(losses(network))[0].backward()
    ours = dict(model.named_parameters())
    for name, parameter in plain.named_parameters():
        if parameter.grad is not None:
            assert torch.equal(ours[name].grad, parameter.grad), name


@every_model
def test_a_step_trains_everything_and_the_norms_of_the_backbone_stand_still(make):
    method = Mind(k_max=3)
    model = force(method.prepare(make()), 3.0).train()
    wrapped = sum(block.shape_preserving for block in block_view(model))
    assert len(model.mind.wrapped) == wrapped
    found = losses(model)
    assert found["loss_introspection"] > 0
    total, _ = model.parse_losses(found)
    total.backward()
    missing = {n for n, p in model.backbone.named_parameters() if p.grad is None}
    assert not {name for name in missing if not name.startswith("norm")}
    assert model.mind.introspection.mlp[-1].bias.grad.abs().sum() > 0
    for module in model.backbone.modules():
        assert not isinstance(module, _BatchNorm) or int(module.num_batches_tracked) == 0
    torch.manual_seed(0)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-4))
    logged = method.train_step(model, batch(model), wrapper)
    assert "loss_introspection" in logged
    assert all(torch.as_tensor(value).isfinite().all() for value in logged.values())
    for variant in method.variants(model).values():
        variant.eval()
        with torch.no_grad():
            assert len(variant.test_step(batch(variant))) == 2


def test_the_introspection_loss_reaches_the_introspection_network_alone():
    model = force(Mind(k_max=3).prepare(mask_rcnn()), 3.0)
    losses(model)["loss_introspection"].backward()
    touched = {name for name, p in model.named_parameters() if p.grad is not None}
    assert touched
    assert all(name.startswith("mind.introspection.") for name in touched)


@pytest.mark.parametrize("make", [retinanet, fcn, swin_retinanet])
def test_the_mask_is_one_an_image(make):
    model = Mind(mode="random", rate=0.5, k_max=3).prepare(make()).eval()
    plain = make().eval()
    images = torch.randn(6, 3, 64, 64)
    with torch.no_grad():
        out, expected = model.backbone(images)[0], plain.backbone(images)[0]
    first = [i for i, b in enumerate(model.mind.wrapped) if b.stage == 1]
    chosen = model.mind.last.chosen[:, first].any(1)
    assert 0 < int(chosen.sum()) < 6
    assert torch.equal(out[~chosen], expected[~chosen])
    assert not torch.isclose(out[chosen], expected[chosen]).flatten(1).all(1).any()


@every_model
def test_the_ledger_of_a_test_set(make):
    method = Mind(k_max=3)
    model = force(method.prepare(make()), 3.0)
    features(model)
    batches = [batch(model, images=2, seed=seed) for seed in (1, 2)]
    found = {
        name: method.analyse(name, variant.eval(), batches)
        for name, variant in method.variants(model).items()
    }
    assert found["full"].keys() == {"selection_rate", "iterations", "non_converged"}
    plain = count_macs(make().backbone, IMAGES[:1])
    variants = method.variants(model)
    assert set(macs(variants["mask=none"].eval(), batches)) == {plain}
    assert found["mask=none"]["selection_rate"] == 0
    assert found["mask=fixed"]["iterations"] == 3
    assert found["full"]["selection_rate"] == 100
    assert min(macs(variants["full"].eval(), batches)) > 2 * plain


def test_a_backbone_that_is_costed_by_itself_costs_what_it_executes():
    method = Mind(k_max=3)
    model = force(method.prepare(retinanet()), 3.0)
    losses(model)
    before = copy.deepcopy(model.state_dict())
    model.train()
    alone = count_macs(model.backbone, IMAGES[:1])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [alone] == macs(model.eval(), [batch(model, images=1)])


def test_each_size_of_image_has_its_own_count():
    method = Mind(k_max=3)
    model = force(method.prepare(swin_retinanet()), 3.0).eval()
    one, other = (batch(model, images=1, side=side) for side in (64, 96))
    alone = macs(model, [one, other])
    for counted, side in zip(alone, (64, 96), strict=True):
        data = model.data_preprocessor(batch(model, images=1, side=side), False)
        # A copy that has seen no image: what it counts must not show in the count of others.
        fresh = copy.deepcopy(model)
        fresh.mind._counts.clear()
        assert count_macs(fresh.backbone, data["inputs"]) == counted


def test_the_windows_of_an_image_are_summed():
    method = Mind(mode="fixed", k_max=2)
    # 48 pixels wide at steps of 16: two windows each way of an image of 64.
    whole, slide = (method.prepare(fcn(slide=way)).eval() for way in (False, True))
    window = torch.randn(1, 3, 48, 48)
    one = [batch(slide, images=1)]
    assert macs(slide, one) == [4 * count_macs(slide.backbone, window)]
    assert method.analyse("full", slide, one)["iterations"] == 2
    assert macs(whole, [batch(whole, images=1)]) == [count_macs(whole.backbone, IMAGES[:1])]


def test_copies_and_loaded_states_are_the_same():
    model = force(Mind(k_max=3).prepare(retinanet()), 3.0)
    losses(model)
    other = Mind(k_max=3).prepare(retinanet(seed=1))
    other.load_state_dict(model.state_dict())
    expected = features(model)
    for twin in (copy.deepcopy(model), other):
        for ours, theirs in zip(features(twin), expected, strict=True):
            assert torch.equal(ours, theirs)


def test_frozen_stages_are_iterated_without_learning():
    model = force(Mind(k_max=3).prepare(retinanet(frozen_stages=2, norm_eval=True)), 3.0)
    model.parse_losses(losses(model))[0].backward()
    assert model.mind.last.iterations[:, :3].max() > 1
    learning = {n for n, p in model.backbone.named_parameters() if p.grad is not None}
    assert learning
    assert not any(name.startswith(("layer1", "layer2", "conv1")) for name in learning)


def test_blocks_that_checkpoint_themselves_are_refused():
    with pytest.raises(UserError, match="set its option with_cp=false"):
        Mind().prepare(retinanet(with_cp=True))
