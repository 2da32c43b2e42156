"""Methods that change blocks, on detectors and segmentors: identities, counts and real steps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from openmmlab_models import DILATED, batch, fcn, mask_rcnn, resnet, retinanet, upernet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.meters.operations import count_macs
from benchmarks.meters.parameters import parameters
from methods.base import Method
from methods.blocks import block_view
from methods.checkpointing import Checkpointing
from methods.depth_matched import DepthMatched
from methods.optimal_depth import OptimalDepth
from methods.replacement import Replacement, export
from methods.stochastic_depth import StochasticDepth
from methods.superweight import SuperWeight
from methods.superweight import export as export_shared
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


def step(method: Method, model: BaseModel, lr: float = 1e-3, seed: int = 3) -> dict[str, Tensor]:
    """One training step as a run makes it; the logged losses."""
    model.train()
    torch.manual_seed(seed)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=lr))
    return method.train_step(model, batch(model), wrapper)


def shaken(model: BaseModel) -> BaseModel:
    """No weight at zero: coefficients of biases would have no gradient."""
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


def finite(losses: dict[str, Tensor]) -> bool:
    return all(torch.as_tensor(value).isfinite().all() for value in losses.values())


@torch.no_grad()
def features(model: BaseModel) -> list[Tensor]:
    """What the heads see, in evaluation mode."""
    training = model.training
    model.eval()
    found = list(model.extract_feat(IMAGES))
    model.train(training)
    return found


def assert_equal(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 0.0) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def assert_predicts(model: BaseModel) -> None:
    model.eval()
    with torch.no_grad():
        assert len(model.test_step(batch(model))) == 2


def changed(model: BaseModel, before: dict[str, Tensor]) -> set[str]:
    return {key for key, value in model.state_dict().items() if not value.equal(before[key])}


# Replacement and its control.


@pytest.mark.parametrize("operator", ["light", "full"])
@every_model
def test_a_replaced_backbone_learns_and_folds(make, operator):
    plain = shaken(make())
    method = Replacement(operator=operator)
    model = method.prepare(copy.deepcopy(plain))
    assert method.replaced_blocks == ((7,) if make in (swin_retinanet, upernet) else (6, 10, 12))
    before = copy.deepcopy(model.state_dict())
    assert finite(step(method, model, lr=0.1))
    learned = changed(model, before)
    coefficients = {name for name, _ in model.named_parameters() if "parameter_fusion" in name}
    assert coefficients <= learned

    composed = [level.detach() for level in model.eval().extract_feat(IMAGES)]
    folded = method.variants(model)["folded"]
    assert_equal(features(folded), composed, 1e-5)
    assert_predicts(folded)
    assert not any("parameter_fusion" in name for name in folded.state_dict())
    assert not any(module._forward_pre_hooks for module in folded.backbone.modules())


@every_model
def test_a_replaced_block_stores_norms_and_coefficients_alone(make):
    plain = make()
    view = block_view(plain)
    model = Replacement(operator="full").prepare(copy.deepcopy(plain))
    expected = parameters(plain).stored
    for number in (7,) if make in (swin_retinanet, upernet) else (6, 10, 12):
        layers = list(view.block(number).roles.values())
        if view.block(number).kind == "swin":
            layers.append(view.block(number).module.attn.w_msa)  # the table of positions
        for layer in layers:
            for name, weight in layer.named_parameters(recurse=False):
                heads = 1 if "table" in name else 0
                expected += 2 * weight.shape[heads] - weight.numel()
    assert parameters(model).stored == expected


@pytest.mark.parametrize("operator", ["light", "full"])
def test_states_load_and_copies_are_independent(operator):
    method = Replacement(operator=operator)
    model, other = (method.prepare(retinanet(seed=seed)) for seed in (0, 1))
    other.load_state_dict(model.state_dict())
    expected = features(model)
    twin = copy.deepcopy(model)
    assert_equal(features(other), expected)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert_equal(features(twin), expected)


def test_a_replaced_block_keeps_its_own_dilation():
    model = fcn(dilations=(1, 1, 2, 4), multi_grid=(2, 4, 8))
    Replacement(operator="full", blocks=[15], boundary="single").prepare(model)
    conv = model.backbone.layer4[1].conv2
    assert type(conv) is not nn.Conv2d  # its weight is made of its neighbours'
    assert (conv.dilation, conv.padding) == ((4, 4), (4, 4))
    neighbour = model.backbone.layer4[2].conv2
    assert neighbour.dilation == (8, 8)
    torch.testing.assert_close(conv.weight, neighbour.weight)


def test_a_light_operator_has_the_dilation_of_the_block_that_it_stands_for():
    backbone = resnet("mmseg", "ResNetV1c", depth=34, **DILATED)
    backbone.eval()
    stage = backbone.layer3  # of 3, 4, 6 and 3 blocks
    weight = (stage[2].conv1.weight + stage[4].conv1.weight) / 2
    Replacement(blocks=[11]).prepare(Backboned(backbone))
    x = torch.randn(1, 32, 9, 9)
    expected = F.conv2d(x, weight, padding=2, dilation=2) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(stage[3](x), F.relu(expected + x))


class Backboned(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone


@pytest.mark.parametrize("boundary", ["shift", "project", "single"])
@pytest.mark.parametrize("make", [fcn, upernet])
def test_every_boundary_works_on_dilated_stages_and_on_swin(make, boundary):
    method = Replacement(boundary=boundary)
    model = method.prepare(make())
    assert finite(step(method, model))
    assert_equal(features(export(model)), features(model), 1e-5)


@every_model
def test_depth_matched_removes_the_blocks_that_replacement_replaces(make):
    plain = make()
    replacement, control = Replacement(), DepthMatched()
    replacement.prepare(copy.deepcopy(plain))
    model = control.prepare(copy.deepcopy(plain))
    assert control.removed_blocks == replacement.replaced_blocks
    view = block_view(plain)
    gone = sum(parameters(view.block(n).module).stored for n in control.removed_blocks)
    assert parameters(model).stored == parameters(plain).stored - gone
    assert [f.shape for f in features(model)] == [f.shape for f in features(plain)]
    assert finite(step(control, model))
    assert_predicts(model)


@pytest.mark.parametrize("method", [Replacement, DepthMatched])
def test_frozen_stages_are_left_whole(method):
    free, frozen = method(every=2), method(every=2)
    free.prepare(retinanet())
    frozen.prepare(retinanet(frozen_stages=2))
    numbers = "replaced_blocks" if method is Replacement else "removed_blocks"
    assert min(getattr(free, numbers)) <= 7
    assert min(getattr(frozen, numbers)) > 7
    with pytest.raises(UserError, match=method.__name__.lower()[:5]):
        method().prepare(retinanet(frozen_stages=4))


@pytest.mark.parametrize("operator", ["light", "full"])
def test_norms_of_replaced_blocks_learn_though_the_backbone_keeps_its_statistics(operator):
    method = Replacement(operator=operator, blocks=[10])
    model = method.prepare(retinanet(norm_eval=True))
    block = block_view(model).block(10)
    step(method, model)
    tracked = {n: m for n, m in model.backbone.named_modules() if isinstance(m, _BatchNorm)}
    own = {m for m in block.module.modules() if isinstance(m, _BatchNorm)}
    assert own
    for norm in tracked.values():
        assert int(norm.num_batches_tracked) == (norm in own)
    model.eval()
    features(model)
    assert all(int(norm.num_batches_tracked) == 1 for norm in own)


# Stochastic depth and checkpointing.


@every_model
def test_stochastic_depth_is_the_plain_network_in_evaluation_and_drops_in_training(make):
    plain = make()
    method = StochasticDepth(survival=0.3)
    model = method.prepare(copy.deepcopy(plain))
    assert_equal(features(model), features(plain))
    assert list(model.state_dict()) == list(plain.state_dict())
    assert finite(step(method, model))
    kept = copy.deepcopy(plain.train())
    assert not torch.equal(model.extract_feat(IMAGES)[-1], kept.extract_feat(IMAGES)[-1])


def test_own_rates_of_swin_are_replaced():
    model = StochasticDepth(survival=1.0).prepare(upernet(drop_path_rate=0.9)).train()
    plain = upernet(drop_path_rate=0.0).train()
    for ours, theirs in zip(model.extract_feat(IMAGES), plain.extract_feat(IMAGES), strict=True):
        assert torch.equal(ours, theirs)


def test_blocks_of_frozen_stages_are_not_dropped():
    model = StochasticDepth(survival=0.01).prepare(retinanet(frozen_stages=4, norm_eval=True))
    plain = retinanet(frozen_stages=4, norm_eval=True).train()
    assert_equal(list(model.train().backbone(IMAGES)), list(plain.backbone(IMAGES)))


@pytest.mark.parametrize("with_cp", [False, True])
@every_model
def test_checkpointing_takes_the_steps_of_plain_training(make, with_cp):
    options = {"drop_path_rate": 0.3} if make in (swin_retinanet, upernet) else {}
    plain, method = make(**options), Checkpointing()
    model = method.prepare(make(with_cp=with_cp, **options))
    runs = []
    for block in block_view(model):
        next(iter(block.roles.values())).register_forward_hook(lambda *_: runs.append(1))
    for seed in range(2):
        ours, theirs = (step(method, network, 0.01, seed) for network in (model, plain))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert len(runs) == 2 * 2 * len(block_view(model))  # forward and again backward, two steps
    for key, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def test_longer_segments_in_a_resnet_and_not_in_swin():
    plain, method = retinanet(norm_eval=True, frozen_stages=1), Checkpointing(every=2)
    model = method.prepare(copy.deepcopy(plain))
    for network in (model, plain):
        step(method, network, 0.01)
    for key, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
    with pytest.raises(UserError, match=r"SwinTransformer hang in a ModuleList; use every=1"):
        method.prepare(upernet())


# What has another meaning, or none.


class FakeTask:
    def __init__(self, family: str, make: Make = retinanet) -> None:
        self.family, self.headline, self.arch = family, "box_ap", "detector"
        self.build_model = make


@pytest.mark.parametrize("family", ["detection", "segmentation"])
def test_exits_on_blocks_are_refused(family):
    method = OptimalDepth(target_accuracy=90)
    with pytest.raises(UserError, match=f"has no meaning for {family}; use a classification task"):
        method.setup(FakeTask(family))


@pytest.mark.parametrize("family", ["detection", "segmentation"])
def test_ensembles_are_refused(family):
    with pytest.raises(UserError, match=f"for {family} use members: 1"):
        SuperWeight(members=2).setup(FakeTask(family))


@pytest.mark.parametrize("make", [retinanet, mask_rcnn, fcn])
def test_one_network_under_a_parameter_budget(make):
    plain = make()
    stored = sum(p.numel() for p in plain.backbone.parameters() if p.ndim == 4)
    budget = stored // 2
    method = SuperWeight(members=1, max_params=budget, bins=1)
    method.setup(FakeTask("detection", make))
    model = method.prepare(copy.deepcopy(plain))
    assert type(model) is type(plain)
    others = {n for n, _ in plain.named_parameters() if not n.startswith("backbone.")}
    assert others <= {n for n, _ in model.named_parameters()}
    templates = sum(bank.templates.numel() for bank in model.backbone.banks)
    assert 0.5 * budget < templates <= budget
    before = copy.deepcopy(model.state_dict())
    assert finite(step(method, model, lr=0.1))
    learned = changed(model, before)
    assert {n for n, _ in model.named_parameters() if "templates" in n} <= learned

    (name, variant), *none = method.variants(model).items()
    assert (name, none) == ("members=1", [])
    assert_equal(features(variant), features(model))
    assert_equal(features(export_shared(model)), features(model))
    assert_predicts(variant)
    assert method.analyse(name, variant, []) == {}
    made = sum(
        bank.templates.numel()
        for layer in model.backbone.modules()
        for recipe in getattr(layer, "recipes", {}).values()
        for bank in recipe.banks
    )
    assert count_macs(model.backbone, IMAGES[:1]) == count_macs(plain.backbone, IMAGES[:1]) + made


def test_after_the_search_for_clusters_the_whole_detector_is_drawn_anew():
    method = SuperWeight(members=1, clusters="search")
    method.setup(FakeTask("detection", lambda arch=None: retinanet(seed=torch.randint(99, ()))))
    model = method.prepare(retinanet())
    phases = method.phases(model)
    assert next(phases).name == "clusters"
    decided = [cluster for member in method._start for cluster in member]
    model.backbone.decision.copy_(torch.tensor(decided))
    before = copy.deepcopy(model.state_dict())
    assert next(phases).name == "train"
    learned = {k for k, v in model.state_dict().items() if not v.equal(before.get(k, v))}
    assert {"neck.lateral_convs.0.conv.weight", "bbox_head.cls_convs.0.conv.weight"} <= learned
    assert finite(step(method, model))


@pytest.mark.parametrize("options", [{"frozen_stages": 1}, {"norm_eval": True}])
def test_pretrained_parts_cannot_stay_where_all_weights_are_drawn_anew(options):
    method = SuperWeight(members=1)
    method.setup(FakeTask("detection"))
    with pytest.raises(UserError, match="frozen_stages=-1 and norm_eval=false"):
        method.prepare(retinanet(**options))
