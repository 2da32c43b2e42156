"""Detectors with a name of their own, and the recipes that papers train them with."""

from __future__ import annotations

from dataclasses import replace

from tasks.base import Recipe
from tasks.openmmlab.ready import Ready

COCO_IMAGES = 117_266
"""Images of COCO train2017 that hold annotations."""

_STEPS_OF_12_EPOCHS = 12 * (COCO_IMAGES // 16)

# Bottleneck blocks of ResNet-50's stages at a quarter of their width, norms free to learn.
_TINY = {
    "model.backbone.base_channels": 16,
    "model.backbone.stem_channels": 16,
    "model.backbone.frozen_stages": -1,
    "model.backbone.norm_eval": False,
    "model.backbone.init_cfg": None,
    "model.neck.in_channels": [64, 128, 256, 512],
    "model.neck.out_channels": 64,
}
_TINY_TWO_STAGES = {
    **_TINY,
    "model.rpn_head.in_channels": 64,
    "model.rpn_head.feat_channels": 64,
    "model.rpn_head.anchor_generator.scales": [4],
    "model.roi_head.bbox_roi_extractor.out_channels": 64,
    "model.roi_head.bbox_head.in_channels": 64,
    "model.roi_head.bbox_head.fc_out_channels": 128,
    "model.train_cfg.rpn_proposal.max_per_img": 100,
    "model.train_cfg.rcnn.sampler.num": 64,
    "model.test_cfg.rpn.max_per_img": 100,
}

READY = {
    "faster_rcnn_r50_fpn": Ready(
        "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", "Faster R-CNN, ResNet-50, FPN"
    ),
    "mask_rcnn_r50_fpn": Ready(
        "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py", "Mask R-CNN, ResNet-50, FPN"
    ),
    "retinanet_r50_fpn": Ready(
        "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py", "RetinaNet, ResNet-50, FPN"
    ),
    "retinanet_tiny": Ready(
        "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py",
        "RetinaNet with 16 channels where ResNet-50 has 64, for CPUs",
        {
            **_TINY,
            "model.bbox_head.in_channels": 64,
            "model.bbox_head.feat_channels": 64,
            "model.bbox_head.stacked_convs": 2,
        },
    ),
    "faster_rcnn_tiny": Ready(
        "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
        "Faster R-CNN with 16 channels where ResNet-50 has 64, for CPUs",
        _TINY_TWO_STAGES,
    ),
    "mask_rcnn_tiny": Ready(
        "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
        "Mask R-CNN with 16 channels where ResNet-50 has 64, for CPUs",
        {
            **_TINY_TWO_STAGES,
            "model.roi_head.mask_roi_extractor.out_channels": 64,
            "model.roi_head.mask_head.in_channels": 64,
            "model.roi_head.mask_head.conv_out_channels": 64,
            "model.roi_head.mask_head.num_convs": 2,
        },
    ),
}
"""Detectors by name."""


def _warm_up(share: float) -> dict[str, object]:
    return {"type": "LinearLR", "start_factor": 0.001, "begin": 0.0, "end": share}


def _steps(*milestones: float) -> dict[str, object]:
    return {
        "type": "MultiStepLR",
        "begin": 0.0,
        "end": 1.0,
        "milestones": list(milestones),
        "gamma": 0.1,
    }


_COCO = Recipe(
    batch_size=16,
    optimizer={"type": "SGD", "lr": 0.02, "momentum": 0.9, "weight_decay": 1e-4},
    schedule=(_warm_up(500 / _STEPS_OF_12_EPOCHS), _steps(8 / 12, 11 / 12)),
)

SCHEDULES = {
    "12_epochs": _COCO,
    "90k_iterations": replace(_COCO, schedule=(_warm_up(1000 / 90_000), _steps(60 / 90, 80 / 90))),
    "small": Recipe(
        batch_size=8,
        optimizer={"type": "AdamW", "lr": 1e-3, "weight_decay": 1e-4},
        schedule=(
            _warm_up(0.05),
            {"type": "CosineAnnealingLR", "begin": 0.0, "end": 1.0, "T_max": 1.0, "eta_min": 0.0},
        ),
        clip_grad={"max_norm": 10.0},
    ),
}
"""Recipes by name: mmdet's and ADN's 12 epochs, Detectron2's 90,000 iterations (its milestones
60k and 80k, arXiv 1703.06870 and its successors), and one for small pictures on a CPU."""
