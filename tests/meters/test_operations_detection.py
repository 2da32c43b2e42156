"""Counts of detectors and segmentors, and the counting by module."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path

import openmmlab_models as tiny
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn
from torch.nn import functional

from benchmarks.meters.operations import (
    OperationCounter,
    UnknownOperation,
    count_macs,
    count_train_flops,
)
from tasks.errors import UserError
from tasks.openmmlab.config import take_weights, use_one_device
from tasks.openmmlab.forward import tensor_forward
from tasks.openmmlab.scope import openmmlab

COUNTINGS = ("plain", "fvcore", "mmcv")


def shipped(name: str) -> nn.Module:
    """A model of mmdet or mmsegmentation, its ResNet and neck made narrow."""
    scope, _, inside = name.partition("::")
    (folder,) = importlib.util.find_spec(scope).submodule_search_locations
    config = Config.fromfile(Path(folder) / ".mim/configs" / inside).model
    take_weights(config)
    use_one_device(config)
    config.pop("data_preprocessor")
    config.backbone.update({**tiny.RESNET, "depth": 18, "style": "pytorch"})
    if scope == "mmseg":
        config.backbone.stem_channels = 8
        config.decode_head.update(in_channels=64, channels=16)
        config.auxiliary_head.update(in_channels=32, channels=16)
        if "c1_in_channels" in config.decode_head:
            config.decode_head.update(c1_in_channels=8, c1_channels=4)
    else:
        config.neck.update(in_channels=[8, 16, 32, 64], out_channels=64)
        for head in (config.get("bbox_head"), config.get("rpn_head")):
            if head:
                head.update(in_channels=64, feat_channels=64)
    if "roi_head" in config:
        config.roi_head.bbox_roi_extractor.out_channels = 64
        for head in config.roi_head.bbox_head:
            head.update(in_channels=64, fc_out_channels=16)
        config.test_cfg.rpn.max_per_img = config.train_cfg.rpn_proposal.max_per_img = 30
    with openmmlab(scope):
        return MODELS.build(config)


MODEL_BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "retinanet": tiny.retinanet,
    "mask_rcnn": tiny.mask_rcnn,
    "fcn": tiny.fcn,
    "upernet": tiny.upernet,
    "fcos": partial(shipped, "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py"),
    "atss": partial(shipped, "mmdet::atss/atss_r50_fpn_1x_coco.py"),
    "cascade_rcnn": partial(shipped, "mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py"),
    "pspnet": partial(shipped, "mmseg::pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py"),
    "deeplabv3": partial(
        shipped, "mmseg::deeplabv3/deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024.py"
    ),
    "deeplabv3plus": partial(
        shipped, "mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024.py"
    ),
}


def image() -> torch.Tensor:
    return torch.zeros(1, 3, tiny.SIDE, tiny.SIDE)


def train_flops(model: nn.Module, images: int = 2) -> int:
    samples = tiny.batch(model, images)["data_samples"]
    inputs = torch.rand(images, 3, tiny.SIDE, tiny.SIDE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def step() -> None:
        model.parse_losses(model(inputs, samples, mode="loss"))[0].backward()
        optimizer.step()

    return count_train_flops(step, images)


@pytest.mark.parametrize("name", MODEL_BUILDERS)
def test_forward_pass_and_training_step_are_counted_whole(name: str) -> None:
    model = MODEL_BUILDERS[name]()
    plain = count_macs(model, image(), "plain", tensor_forward)
    assert count_macs(model, image(), "fvcore", tensor_forward) > plain > 0
    if name == "upernet":
        with pytest.raises(UnknownOperation, match="outside of the modules"):
            count_macs(model, image(), "mmcv", tensor_forward)  # Swin's attention is no module
    else:
        assert count_macs(model, image(), "mmcv", tensor_forward) > plain
    assert train_flops(model.train()) > 2 * plain


@pytest.mark.parametrize("name", ["retinanet", "fcos", "atss"])
def test_a_dense_detectors_step_costs_three_forwards(name: str) -> None:
    model = MODEL_BUILDERS[name]().train()
    stem = 8 * 3 * 7 * 7 * (tiny.SIDE // 2) ** 2  # the image takes no gradient
    macs = count_macs(model, image(), run=tensor_forward)
    assert train_flops(model) == 2 * (3 * macs - stem)


@pytest.mark.parametrize("counting", COUNTINGS)
def test_a_second_stage_costs_what_its_proposals_do(counting: str) -> None:
    model = tiny.mask_rcnn()
    macs = []
    for count in (20, 30):
        model.test_cfg.rpn.max_per_img = count
        macs.append(count_macs(model, image(), counting, tensor_forward))
    box = 16 * 7 * 7 * 16 + 16 * 16 + 16 * (3 + 1) + 16 * 3 * 4
    mask = 16 * 16 * 9 * 14 * 14 + 16 * 16 * 2 * 2 * 14 * 14 + 16 * 3 * 28 * 28
    # The convolutions' biases; the ReLU modules after each layer but the last ones.
    extra = 16 * 14 * 14 + 16 * 28 * 28 + 3 * 28 * 28 + 16 + 16 + 16 * 14 * 14 + 16 * 28 * 28
    each = box + mask + (extra if counting == "mmcv" else 0)
    assert macs[1] - macs[0] == 10 * each  # RoIAlign nothing


def test_roi_align_nms_and_box_arithmetic_multiply_nothing() -> None:
    with openmmlab("mmdet"):
        from mmcv.ops import batched_nms, roi_align
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [1.0, 1.0, 9.0, 9.0]], requires_grad=True)
    features = torch.rand(1, 4, 16, 16, requires_grad=True)
    rois = torch.cat((torch.zeros(2, 1), boxes.detach()), 1)
    with OperationCounter() as counter:
        roi_align(features, rois, 7).sum().backward()
        batched_nms(
            boxes, torch.rand(2), torch.tensor([0, 1]), {"type": "nms", "iou_threshold": 0.5}
        )
    assert counter.macs == 0


@pytest.mark.parametrize(("p", "macs"), [(1.0, 0), (2.0, 3 * 5 * 4)])
def test_distances_multiply_where_they_are_squared(p: float, macs: int) -> None:
    a, b = torch.rand(3, 4, requires_grad=True), torch.rand(5, 4)
    with OperationCounter() as counter:
        distances = torch.cdist(a, b, p=p)
    assert counter.macs == macs
    with OperationCounter() as counter:
        distances.sum().backward()
    assert counter.macs == macs


def call(layer: Callable[[torch.Tensor], torch.Tensor], *shape: int) -> int:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)

    return count_macs(Model(), torch.zeros(1, *shape), "mmcv")


def test_modules_by_hand() -> None:
    assert call(nn.Conv2d(4, 6, 3, padding=1), 4, 5, 7) == (4 * 6 * 9 + 6) * 5 * 7
    assert call(nn.Conv2d(4, 6, 3, groups=2, bias=False), 4, 5, 7) == 2 * 6 * 9 * 3 * 5
    assert call(nn.Conv1d(4, 6, 3), 4, 5) == (4 * 6 * 3 + 6) * 3
    assert call(nn.ConvTranspose2d(4, 6, 2, stride=2), 4, 5, 7) == 4 * 6 * 4 * 35 + 6 * 4 * 35
    assert call(nn.Linear(4, 6), 3, 4) == 3 * 4 * 6  # without its bias
    assert call(nn.BatchNorm2d(4), 4, 5, 7) == 2 * 4 * 5 * 7
    assert call(nn.GroupNorm(2, 4, affine=False), 4, 5, 7) == 4 * 5 * 7
    assert call(nn.LayerNorm(7), 4, 5, 7) == 2 * 4 * 5 * 7
    assert call(nn.ReLU(inplace=True), 4, 5, 7) == 4 * 5 * 7
    assert call(nn.MaxPool2d(2), 4, 6, 8) == 4 * 6 * 8
    assert call(nn.AdaptiveAvgPool2d(1), 4, 6, 8) == 4 * 6 * 8
    assert call(nn.Upsample(scale_factor=2), 4, 5, 7) == 4 * 4 * 5 * 7
    assert call(nn.Hardswish(), 4, 5, 7) == 0


def test_functions_count_nothing_by_module() -> None:
    assert call(functional.relu, 4, 5, 7) == 0
    assert call(lambda x: functional.max_pool2d(x, 2), 4, 6, 8) == 0
    assert call(lambda x: functional.interpolate(x, scale_factor=2.0), 4, 5, 7) == 0


def test_multiplying_outside_of_modules_is_an_error_by_module() -> None:
    with pytest.raises(UnknownOperation, match=r"^36 multiply-adds ran outside .* 'mmcv'"):
        call(lambda x: x @ x.transpose(-1, -2), 3, 4)
    with pytest.raises(UnknownOperation, match="outside"):
        call(nn.ConvTranspose1d(4, 2, 3), 4, 5)


def test_a_module_inside_a_priced_one_is_not_priced_again() -> None:
    class Standardised(nn.Conv2d):
        def __init__(self) -> None:
            super().__init__(2, 3, 1, bias=False)
            self.pool = nn.MaxPool2d(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(self.pool(x))

    layer = Standardised()
    assert call(layer, 2, 4, 4) == 2 * 3 * 16
    assert call(nn.Sequential(layer, nn.Sequential(nn.ReLU())), 2, 4, 4) == 2 * 3 * 16 + 3 * 16


def test_counting_by_module_leaves_no_hook_and_runs_nothing_twice() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU())
    assert count_macs(model, torch.zeros(1, 2, 4, 4), "mmcv") == (2 * 3 + 3) * 16 + 3 * 16
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    with pytest.raises(RuntimeError):
        count_macs(model, torch.zeros(1, 5, 4, 4), "mmcv")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_an_operation_counter_by_module_is_refused() -> None:
    with pytest.raises(UserError, match="call count_macs"):
        OperationCounter("mmcv")


@pytest.mark.parametrize("name", ["retinanet", "mask_rcnn", "fcn", "fcos", "cascade_rcnn"])
def test_mmcvs_own_counter_agrees(name: str) -> None:
    with openmmlab("mmdet"):
        from mmcv.cnn import get_model_complexity_info

    class Run(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: torch.Tensor) -> object:
            return tensor_forward(self.model, x)

    model = MODEL_BUILDERS[name]().eval()
    found = count_macs(model, image(), "mmcv", tensor_forward)
    with torch.no_grad():
        shape = tuple(image().shape[1:])
        theirs, _ = get_model_complexity_info(
            Run(model), shape, print_per_layer_stat=False, as_strings=False
        )
    assert found == theirs
