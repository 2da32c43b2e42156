"""Adaptive depth on detectors and segmentors: identities, taps, and the step by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from openmmlab_models import batch, fcn, mask_rcnn, retinanet, upernet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.meters.parameters import parameters
from methods.adaptive_depth import AdaptiveDepth
from methods.adaptive_depth.subnets import SkipAwareNorm
from methods.blocks import block_view
from tasks.errors import UserError

Make = Callable[..., BaseModel]


def swin_retinanet(**options: Any) -> BaseModel:
    return retinanet(swin=True, **options)


def partly_frozen() -> BaseModel:
    """As mmdet's configs have it: the first stage and all statistics stay as pretrained."""
    return retinanet(norm_eval=True, frozen_stages=1)


MODELS: dict[str, Make] = {
    "retinanet": retinanet,
    "mask_rcnn": mask_rcnn,
    "fcn": fcn,
    "swin_retinanet": swin_retinanet,
    "upernet": upernet,
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))


def wrapper(model: nn.Module, lr: float = 1e-3) -> OptimWrapper:
    return OptimWrapper(torch.optim.SGD(model.parameters(), lr=lr))


class Kept(OptimWrapper):
    """Keeps the gradients of its step."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(torch.optim.SGD(model.parameters(), lr=0.0))
        self.model = model
        self.gradients: dict[str, Tensor] = {}

    def step(self, **options: Any) -> None:
        named = self.model.named_parameters()
        self.gradients = {n: p.grad.clone() for n, p in named if p.grad is not None}
        super().step(**options)


@torch.no_grad()
def features(model: BaseModel) -> list[Tensor]:
    model.eval()
    return list(model.extract_feat(IMAGES))


@every_model
def test_the_super_net_is_the_plain_network_and_the_base_net_the_one_without_blocks(make):
    plain = make()
    model = AdaptiveDepth().prepare(copy.deepcopy(plain))
    assert all(torch.equal(*pair) for pair in zip(features(model), features(plain), strict=True))
    flags = len(model.backbone.switch.skip)
    assert flags == 4
    model.backbone.set_skip([True] * flags)
    shorter = copy.deepcopy(plain)
    for stage in block_view(shorter).stages:
        for block in stage[(len(stage) + 1) // 2 :]:
            block.drop()
    # Second norms start as copies of the first.
    assert all(torch.equal(*pair) for pair in zip(features(model), features(shorter), strict=True))


@every_model
def test_what_is_added_are_the_norms_of_mandatory_blocks(make):
    plain = make()
    view = block_view(plain)
    expected = 0
    for stage in view.stages:
        for block in stage[: (len(stage) + 1) // 2]:
            expected += sum(p.numel() for norm in block.norms.values() for p in norm.parameters())
    if make in (swin_retinanet, upernet):
        for stage in list(plain.backbone.stages)[:-1]:
            expected += sum(p.numel() for p in stage.downsample.norm.parameters())
    model = AdaptiveDepth().prepare(copy.deepcopy(plain))
    assert parameters(model).stored == parameters(plain).stored + expected


@every_model
def test_a_step_and_every_subnet_as_a_plain_network_that_predicts(make):
    method = AdaptiveDepth(subnets=["super", "TTFF", "base"])
    model = method.prepare(make()).train()
    logged = method.train_step(model, batch(model), wrapper(model))
    assert all(value.isfinite() for value in logged.values())
    assert {"loss_super", "loss_base", "loss_base_features"} <= logged.keys()
    assert "loss_base_output" not in logged
    assert logged["loss_base"] > 0
    for name, variant in method.variants(model).items():
        model.backbone.set_skip([letter == "T" for letter in _letters(name)])
        for ours, theirs in zip(features(variant), features(model), strict=True):
            assert torch.equal(ours, theirs)
        assert not any(isinstance(m, SkipAwareNorm) for m in variant.modules())
        assert not any(m._forward_hooks for m in variant.modules())
        assert len(block_view(variant)) < 17
        with torch.no_grad():
            assert len(variant.test_step(batch(variant))) == 2
        assert not any(".block." in key or ".skip." in key for key in variant.state_dict())


def _letters(name: str) -> str:
    return {"super": "FFFF", "base": "TTTT"}.get(name, name)


def by_hand(model: BaseModel, data: dict[str, Any], tapped: Callable[..., list[Tensor]]) -> Tensor:
    """The whole loss of a step in one go, nothing detached but the teacher."""
    inputs = data["inputs"]
    flags = [True] * len(model.backbone.switch.skip)
    total, _ = model.parse_losses(model(**data, mode="loss"))
    teacher = [level.detach() for level in tapped(model, inputs)]
    model.backbone.set_skip(flags)
    student = tapped(model, inputs)
    model.backbone.set_skip([not flag for flag in flags])
    for t, s in zip(teacher, student, strict=True):
        p, q = t.mean((2, 3)).log_softmax(1), s.mean((2, 3)).log_softmax(1)
        total = total + (p.exp() * (p - q)).sum() / len(p)
    return total / 2


def pyramid(model: BaseModel, inputs: Tensor) -> list[Tensor]:
    return list(model.neck(model.backbone(inputs)))


def stages(model: BaseModel, inputs: Tensor) -> list[Tensor]:
    return list(model.backbone(inputs))


@pytest.mark.parametrize(("make", "tapped"), [(partly_frozen, pyramid), (fcn, stages)])
def test_the_base_net_is_distilled_in_the_pyramid_or_in_the_stages(make, tapped):
    method = AdaptiveDepth()
    model = method.prepare(make()).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
        if isinstance(module, _BatchNorm):
            module.momentum = 0.0
    data = model.data_preprocessor(batch(model), True)
    loss = by_hand(model, data, tapped)
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    expected = torch.autograd.grad(loss, list(learning.values()), allow_unused=True)
    kept = Kept(model)
    logged = method.train_step(model, batch(model), kept)
    torch.testing.assert_close(logged["loss"], loss.detach())
    assert kept.gradients.keys() <= learning.keys()
    for name, gradient in zip(learning, expected, strict=True):
        if gradient is None:
            assert not kept.gradients.get(name, torch.zeros(())).any(), name
        else:
            torch.testing.assert_close(kept.gradients[name], gradient, rtol=1e-3, atol=1e-5)


def test_swins_tokens_are_pooled_over_positions():
    method = AdaptiveDepth()
    model = method.prepare(upernet()).train()
    data = model.data_preprocessor(batch(model), True)
    ends: list[Tensor] = []
    for stage in model.backbone.stages:
        stage.blocks[-1].register_forward_hook(lambda m, i, out: ends.append(out.mean(1)))
    with torch.no_grad():
        for skip in (False, True):
            model.backbone.set_skip([skip] * 4)
            model.extract_feat(data["inputs"])
    model.backbone.set_skip([False] * 4)
    expected = sum(
        F.kl_div(s.log_softmax(1), t.log_softmax(1), reduction="batchmean", log_target=True)
        for t, s in zip(ends[:4], ends[4:], strict=True)
    )
    logged = method.train_step(model, batch(model), wrapper(model))
    torch.testing.assert_close(logged["loss_base_features"], expected)


def test_the_heads_run_once_a_step():
    method = AdaptiveDepth()
    model = method.prepare(retinanet()).train()
    calls = []
    model.bbox_head.retina_cls.register_forward_hook(lambda *_: calls.append(1))
    method.train_step(model, batch(model), wrapper(model))
    assert len(calls) == 5  # once a level


@pytest.mark.parametrize("make", [retinanet, mask_rcnn, fcn])
def test_without_distillation_the_base_net_has_the_losses_of_the_task(make):
    method = AdaptiveDepth(distillation=False, alpha=0.25)
    model = method.prepare(make()).train()
    twin, losses = copy.deepcopy(model), []
    torch.manual_seed(0)
    data = twin.data_preprocessor(batch(twin), True)
    for skip in (False, True):
        twin.backbone.set_skip([skip] * 4)
        losses.append(twin.parse_losses(twin(**data, mode="loss"))[0].detach())
    torch.manual_seed(0)
    logged = method.train_step(model, batch(model), wrapper(model))
    torch.testing.assert_close(logged["loss_super"], losses[0])
    torch.testing.assert_close(logged["loss_base"], losses[1])
    torch.testing.assert_close(logged["loss"], 0.25 * losses[0] + 0.75 * losses[1])


def test_a_wrapped_detector_takes_the_same_step():
    class Wrapper(nn.Module):
        """What DistributedDataParallel is: its own forward is what gradients are gathered by."""

        def __init__(self, module: BaseModel) -> None:
            super().__init__()
            self.module = module
            self.calls = 0

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return self.module(*args, **kwargs)

    method = AdaptiveDepth()
    model = method.prepare(retinanet()).train()
    wrapped = Wrapper(copy.deepcopy(model))
    expected = method.train_step(model, batch(model), wrapper(model))
    found = method.train_step(wrapped, batch(model), wrapper(wrapped))
    assert wrapped.calls == 2
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_second_norms_learn_statistics_though_the_backbone_keeps_those_of_the_first():
    method = AdaptiveDepth()
    model = method.prepare(retinanet(norm_eval=True, frozen_stages=1)).train()
    method.train_step(model, batch(model), wrapper(model))
    for name, module in model.backbone.named_modules():
        if isinstance(module, _BatchNorm):
            learns = name.endswith(".skip") and not name.startswith("layer1")
            assert int(module.num_batches_tracked) == learns, name
    model.eval()
    model.backbone.set_skip([True] * 4)
    before = copy.deepcopy(model.state_dict())
    features(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_copies_and_loaded_states_are_the_same_and_independent():
    method = AdaptiveDepth()
    model = method.prepare(retinanet()).train()
    method.train_step(model, batch(model), wrapper(model, 0.1))
    other = AdaptiveDepth().prepare(retinanet(seed=1))
    other.load_state_dict(model.state_dict())
    for network in (model, other):
        network.backbone.set_skip([True, False, True, False])
    twin = copy.deepcopy(model)
    expected = features(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    for network in (other, twin):
        assert all(torch.equal(*pair) for pair in zip(features(network), expected, strict=True))
    assert not twin.backbone.recorder.on
    logged = method.train_step(twin.train(), batch(twin), wrapper(twin))
    assert logged["loss_base_features"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature_kl": False}, "nothing to distil; leave it out, or set distillation=false"),
        ({"topk": 2}, "topk chooses among the classes of logits"),
        ({"swin_last_mandatory": True}, "is for Swin backbones, not ResNet"),
    ],
)
def test_options_without_a_meaning_there_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        AdaptiveDepth(**options).prepare(retinanet())


def test_swins_without_norms_in_patch_merging():
    method = AdaptiveDepth()
    model = method.prepare(swin_retinanet(patch_norm=False)).train()
    logged = method.train_step(model, batch(model), wrapper(model))
    assert logged["loss"].isfinite()
