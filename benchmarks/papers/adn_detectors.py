"""Adaptive depth networks as backbones of detectors on COCO: table 5 and the README's RetinaNet."""

from __future__ import annotations

from typing import Any

from benchmarks.papers.cautions import NOT_RUN
from benchmarks.papers.claims import Claim
from benchmarks.papers.routes import (
    DATASETS,
    PAPER,
    SMOKE,
    Excluded,
    Measure,
    Setting,
    Trained,
    run_spec,
)

PRETRAINED = "resnet50-0676ba61.pth"
"""torchvision's weights of ResNet-50, IMAGENET1K_V1, under the data root."""

STAND_INS = {
    "faster_rcnn_r50_fpn": "faster_rcnn_tiny",
    "mask_rcnn_r50_fpn": "mask_rcnn_tiny",
    "retinanet_r50_fpn": "retinanet_tiny",
}
SCENES = {"name": "digit_scenes", "train": 64, "val": 16, "test": 16, "size": 96}
"""What a smoke run detects: real digits on textured ground, made on the spot."""

OTHER_WEIGHTS = {
    "adaptive_depth": "the backbone starts from a plain ResNet-50's ImageNet weights, the paper's "
    "from those of its adaptive depth network",
    "base_net": "the backbone starts from the ImageNet weights of the whole ResNet-50, the paper's "
    "from those of its base network",
}


def route(claim: Claim, setting: Setting) -> Trained | Excluded:
    """The detector that a claim is of."""
    if claim.arch not in STAND_INS:
        return Excluded(NOT_RUN, f"how to train {claim.arch} is not known here")
    method, options, variant = _method(claim)
    changes = [OTHER_WEIGHTS[method]] if method in OTHER_WEIGHTS else []
    if claim.table.startswith("README"):
        changes.append("the README does not say how its detectors were trained")
    spec = _spec(claim, setting, method, options)
    return Trained(spec, Measure(claim.metric, variant), tuple(changes))


def _method(claim: Claim) -> tuple[str, dict[str, Any], str]:
    if claim.method == "adaptive_depth":
        return "adaptive_depth", {"subnets": ["super", "base"]}, claim.variant
    return ("base_net" if claim.variant == "base" else "end_to_end"), {}, "full"


def _spec(claim: Claim, setting: Setting, method: str, options: dict[str, Any]) -> Any:
    task: dict[str, Any] = {
        "dataset": DATASETS[claim.dataset],
        "arch": claim.arch,
        "pretrained": PRETRAINED,
        "schedule": "12_epochs",
    }
    recipe: dict[str, Any] = {}
    if claim.arch == "retinanet_r50_fpn":  # mmdet's own learning rate, half of the others'
        recipe = {"optimizer": {"lr": 0.01}}
    budget: dict[str, float] = {"epochs": 12}
    if setting.profile == SMOKE:
        task = {
            "dataset": SCENES,
            "arch": STAND_INS[claim.arch],
            "pretrained": "random",
            "schedule": "small",
            "image_size": [96, 96],
            "eval_batch_size": 8,
        }
        recipe, budget = {"batch_size": 4}, {"samples": 128}
    elif setting.profile != PAPER:
        budget = {"samples": 8_192 if setting.gpu else 16}
    return run_spec(
        "adn", setting, task, method, options, budget, recipe, task="detection", validate_every=12
    )
