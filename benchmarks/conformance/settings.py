"""What the kit trains: small networks on small data, for a few epochs.

Options come with ``--option``, with the arguments of
:func:`benchmarks.conformance.plugin.conforms`, or from the method's own ``tried_with``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.conformance.finding import some
from tasks.errors import unknown_name

SEED = 0


@dataclass(frozen=True)
class Ground:
    """What methods are tried on in one family of tasks."""

    options: Mapping[str, Any]
    """Of the task, the data set among them."""
    archs: tuple[str | Mapping[str, Any], ...]
    """Tried in this order until the method's ``prepare`` accepts one."""
    recipe: Mapping[str, Any]
    epochs: int
    learnt: float
    """What the primary metric on test must reach after the full run, in %."""
    untrained: str
    """What it is where nothing was learnt, in words."""
    fell: float = 0.7
    """The loss of the last steps, as a share of the first steps', that counts as learning."""


def shown_arch(arch: str | Mapping[str, Any]) -> str:
    """``cifar_resnet14 (width 8)``, ``retinanet_tiny (depth 18 and 12 more)``."""
    if isinstance(arch, str):
        return arch
    changes = [f"{key.rsplit('.', 1)[-1]} {value}" for key, value in arch.items() if key != "name"]
    return f"{arch['name']} ({some(changes, 1)})" if changes else str(arch["name"])


def _retinanet(depth: int) -> dict[str, Any]:
    """RetinaNet with 8 channels where a ResNet has 64, and one anchor a place."""
    return {
        "name": "retinanet_tiny",
        "model.backbone.depth": depth,
        "model.backbone.base_channels": 8,
        "model.backbone.stem_channels": 8,
        "model.neck.in_channels": [8, 16, 32, 64],
        "model.neck.out_channels": 16,
        "model.bbox_head.in_channels": 16,
        "model.bbox_head.feat_channels": 16,
        "model.bbox_head.stacked_convs": 1,
        "model.bbox_head.anchor_generator.octave_base_scale": 3,
        "model.bbox_head.anchor_generator.scales_per_octave": 1,
        "model.bbox_head.anchor_generator.ratios": [1.0],
        # mmengine collects garbage for each data set that it serialises: slower than a step.
        "train_dataloader.dataset.serialize_data": False,
        "val_dataloader.dataset.serialize_data": False,
    }


def _fcn(depth: int) -> dict[str, Any]:
    """FCN with 8 channels where a ResNet has 64, at a quarter of the resolution throughout.

    Strokes of digits are thinner than the usual eighth, and so rare that ground alone would be
    learnt first. Digits are not mirrored.
    """
    return {
        "name": "fcn_tiny",
        "model.backbone.depth": depth,
        "model.backbone.base_channels": 8,
        "model.backbone.stem_channels": 8,
        "model.backbone.strides": [1, 1, 1, 1],
        "model.backbone.dilations": [1, 1, 1, 1],
        "model.decode_head.in_channels": 64,
        "model.decode_head.channels": 32,
        "model.decode_head.loss_decode.class_weight": [0.05] + 10 * [1.0],
        # Else mmsegmentation looks up the weight of void pixels.
        "model.decode_head.loss_decode.avg_non_ignore": True,
        "model.auxiliary_head": None,
        "train_dataloader.dataset.pipeline.2.ratio_range": [1.0, 1.0],
        "train_dataloader.dataset.pipeline.4.prob": 0.0,
    }


GROUNDS: Mapping[str, Ground] = {
    "classification": Ground(
        options={"dataset": "digits"},
        archs=(
            "cifar_resnet8",
            {"name": "cifar_resnet14", "width": 8},
            {"name": "cifar_resnet26", "width": 8},
        ),
        recipe={"batch_size": 64},
        epochs=3,
        # 6 seeds each, AVX-512 and AVX2: least is adaptive_depth, 92.8 ± 1.0 (min. 91.2), its loss
        # 0.25 ± 0.02 of the first; a search for depth 93.4 ± 1.9 (min. 90.4); others at least 92.
        learnt=50.0,
        untrained="chance is 10 %",
    ),
    "detection": Ground(
        options={
            "dataset": {"name": "digit_scenes", "train": 64, "val": 16, "test": 16, "size": 96},
            "schedule": "small",
            "pretrained": "random",
            "image_size": [96, 96],
            "eval_batch_size": 8,
        },
        archs=(_retinanet(18), _retinanet(34)),
        recipe={"batch_size": 4, "optimizer": {"lr": 5e-3}},
        epochs=8,
        learnt=2.0,
        untrained="an untrained detector has 0 %",
    ),
    "segmentation": Ground(
        options={
            "dataset": {"name": "digit_scenes", "train": 64, "val": 16, "test": 32, "size": 64},
            "schedule": "small",
            "pretrained": "random",
            "image_size": [64, 64],
            "crop_size": [48, 48],
            "eval_batch_size": 8,
        },
        archs=(_fcn(18), _fcn(34)),
        recipe={"batch_size": 4, "optimizer": {"lr": 2e-2}},
        epochs=12,
        fell=0.9,
        learnt=9.0,
        untrained="ground alone is 7.9 %",
    ),
}
"""By the registered name of the task."""


def ground_of(task: str) -> Ground:
    """The ground of a family.

    Raises:
        UserError: the kit has none for it.
    """
    if task not in GROUNDS:
        raise unknown_name("task of the kit", task, GROUNDS)
    return GROUNDS[task]
