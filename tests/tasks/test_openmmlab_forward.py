"""What costing runs of detectors and segmentors."""

from __future__ import annotations

import copy
from collections import Counter

import openmmlab_models as tiny
import pytest
import torch
from torch import nn

from tasks.openmmlab.forward import predict_forward, proposals, tensor_forward

BUILDERS = [tiny.retinanet, tiny.mask_rcnn, tiny.fcn, tiny.upernet]


def images(count: int = 1, device: str = "cpu") -> torch.Tensor:
    return torch.zeros(count, 3, tiny.SIDE, tiny.SIDE, device=device)


def rows(model: nn.Module, count: int, device: str = "cpu") -> dict[str, int]:
    """How many inputs each linear layer and convolution saw in a forward pass."""
    seen: Counter[str] = Counter()
    handles = [
        module.register_forward_hook(
            lambda module, args, out, name=name: seen.update({name: args[0].shape[0]})
        )
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        tensor_forward(model, images(count, device))
    for handle in handles:
        handle.remove()
    return dict(seen)


@pytest.mark.parametrize("count", [1, 2])
def test_two_stages_refine_the_same_number_of_proposals_whatever_the_weights(count: int) -> None:
    seen = []
    for seed in (0, 1):
        model = tiny.mask_rcnn(seed=seed).eval()
        if seed:
            model.rpn_head.test_cfg.min_bbox_size = 10 * tiny.SIDE  # it finds nothing by itself
        seen.append(rows(model, count))
    assert seen[0] == seen[1]
    assert model.test_cfg.rpn.max_per_img == 20
    assert seen[0]["roi_head.bbox_head.fc_cls"] == 20 * count
    assert seen[0]["roi_head.mask_head.conv_logits"] == 20 * count  # mmdet: the first 100
    assert seen[0]["rpn_head.rpn_conv"] == 5 * count  # once a feature level


def test_a_mask_head_masks_as_many_of_each_image() -> None:
    model = tiny.mask_rcnn().eval()
    model.test_cfg.rpn.max_per_img = 130
    for count in (1, 2, 3):
        assert rows(model, count)["roi_head.mask_head.conv_logits"] == 100 * count
    assert "_mask_forward" not in vars(model.roi_head)


def test_the_detectors_own_proposals_are_back_afterwards() -> None:
    model = tiny.mask_rcnn().eval()
    before = copy.deepcopy(vars(model.rpn_head))
    with torch.no_grad():
        tensor_forward(model, images())
    assert vars(model.rpn_head).keys() == before.keys()
    broken = images()[:, :2]
    with pytest.raises(RuntimeError):
        tensor_forward(model, broken)
    assert vars(model.rpn_head).keys() == before.keys()


def test_shapes_are_enough() -> None:
    for build in (tiny.retinanet, tiny.mask_rcnn, tiny.fcn):
        model = build().eval()
        assert rows(model, 1) == rows(model.to("meta"), 1, "meta"), build


def test_a_forward_pass_stops_before_post_processing_and_inference_does_not() -> None:
    with torch.no_grad():
        for build in BUILDERS:
            model = build().eval()
            raw = tensor_forward(model, images(2))
            samples = predict_forward(model, images(2))
            assert len(samples) == 2
            if build in (tiny.fcn, tiny.upernet):
                assert raw.shape[:2] == (2, tiny.CLASSES)
                assert samples[0].pred_sem_seg.data.shape == (1, tiny.SIDE, tiny.SIDE)
            else:
                assert isinstance(raw, tuple)
                boxes = samples[1].pred_instances.bboxes
                assert boxes.shape[1] == 4
                assert ((boxes >= 0) & (boxes <= tiny.SIDE)).all()


def test_proposals_lie_in_the_image_and_differ_in_size() -> None:
    boxes = proposals(1000, torch.zeros(1, 3, 800, 1280))
    assert boxes.shape == (1000, 4)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= torch.tensor([1280, 800])).all()
    sides = (boxes[:, 2:] - boxes[:, :2]).view(250, 4, 2)
    expected = torch.tensor([[1280 / n, 800 / n] for n in (1, 2, 4, 8)])
    torch.testing.assert_close(sides, expected.expand(250, 4, 2))
