"""Segmentors with a name of their own, and the recipes that they train with."""

from __future__ import annotations

from typing import Any

from tasks.base import Recipe
from tasks.openmmlab.ready import Ready

CITYSCAPES_IMAGES = 2975
"""Images of Cityscapes' train split with fine masks."""

# Bottleneck blocks of ResNet-50's stages at a quarter of their width, drawn at random.
_TINY = {
    "model.pretrained": None,
    "model.backbone.base_channels": 16,
    "model.backbone.stem_channels": 16,
    "model.decode_head.in_channels": 512,
    "model.decode_head.channels": 64,
    "model.auxiliary_head.in_channels": 256,
    "model.auxiliary_head.channels": 32,
}
# Rates of 12, 24 and 36 reach over 96 to 288 pixels: more than a small picture has.
_TINY_RATES = {**_TINY, "model.decode_head.dilations": (1, 3, 6, 9)}


def _config(kind: str, depth: int = 50) -> str:
    return f"mmseg::{kind}/{kind}_r{depth}-d8_4xb2-40k_cityscapes-512x1024.py"


def _tiny(kind: str, title: str, changes: dict[str, Any]) -> Ready:
    summary = f"{title} with 16 channels where ResNet-50 has 64, for CPUs"
    return Ready(_config(kind), summary, changes)


READY = {
    "fcn_r50_d8": Ready(_config("fcn"), "FCN, ResNet-50, output stride 8"),
    "pspnet_r50_d8": Ready(_config("pspnet"), "PSPNet, ResNet-50, output stride 8"),
    "deeplabv3_r50_d8": Ready(_config("deeplabv3"), "DeepLabV3, ResNet-50, output stride 8"),
    "deeplabv3_r101_d8": Ready(_config("deeplabv3", 101), "DeepLabV3, ResNet-101, output stride 8"),
    "deeplabv3plus_r50_d8": Ready(
        _config("deeplabv3plus"), "DeepLabV3+, ResNet-50, output stride 8"
    ),
    "fcn_tiny": _tiny("fcn", "FCN", _TINY),
    "pspnet_tiny": _tiny("pspnet", "PSPNet", _TINY),
    "deeplabv3_tiny": _tiny("deeplabv3", "DeepLabV3", _TINY_RATES),
    "deeplabv3plus_tiny": _tiny(
        "deeplabv3plus",
        "DeepLabV3+",
        {
            **_TINY_RATES,
            "model.decode_head.c1_in_channels": 64,
            "model.decode_head.c1_channels": 16,
        },
    ),
}
"""Segmentors by name."""

SCHEDULES = {
    "40k_iterations": Recipe(
        batch_size=8,
        optimizer={"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4},
        schedule=({"type": "PolyLR", "begin": 0.0, "end": 1.0, "power": 0.9, "eta_min": 1e-4},),
    ),
    "small": Recipe(
        batch_size=8,
        optimizer={"type": "AdamW", "lr": 5e-3, "weight_decay": 1e-2},
        schedule=(
            {"type": "LinearLR", "begin": 0.0, "end": 0.05, "start_factor": 0.01},
            {"type": "PolyLR", "begin": 0.05, "end": 1.0, "power": 0.9, "eta_min": 0.0},
        ),
        clip_grad={"max_norm": 10.0},
    ),
}
"""Recipes by name: mmsegmentation's ``schedule_40k`` with four devices' batch of two images, and
one for small pictures on a CPU."""
