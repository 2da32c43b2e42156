"""A config's optimizer and schedule as a recipe whose schedule runs on the spent fraction."""

from __future__ import annotations

import re
from typing import Any

from mmengine.config import Config

from tasks.base import Recipe
from tasks.errors import UserError

_BY_FRACTION = (
    "ConstantLR",
    "CosineAnnealingLR",
    "LinearLR",
    "MultiStepLR",
    "PolyLR",
)
"""Schedulers whose only lengths are ``begin``, ``end``, ``T_max`` and ``milestones``."""


def config_recipe(config: Config, name: str, images: int) -> Recipe:
    """The recipe that a config trains with.

    Schedulers by epoch or by iteration become fractions of the config's own length. The batch is
    the one of all its devices together: ``auto_scale_lr.base_batch_size``, or ``4xb2`` in its
    name, or the batch of one device.

    Args:
        config: an mmdet or mmsegmentation config.
        name: its name.
        images: training images of the data set that the config was written for, which turn
            iterations into epochs.

    Raises:
        UserError: a scheduler of the config has no form by fraction.
    """
    batch = batch_size(config, name)
    train = config.train_cfg
    iterations_per_epoch = max(1, images // batch)
    if train.get("by_epoch", "max_epochs" in train) and "max_epochs" in train:
        iterations = train["max_epochs"] * iterations_per_epoch
    else:
        iterations = train["max_iters"]
    wrapper = config.optim_wrapper
    schedulers = config.get("param_scheduler") or []
    if isinstance(schedulers, dict):
        schedulers = [schedulers]
    return Recipe(
        batch_size=batch,
        optimizer=_plain(wrapper["optimizer"]),
        schedule=tuple(_fraction(s, iterations, iterations_per_epoch) for s in schedulers),
        paramwise=_plain(wrapper.get("paramwise_cfg") or {}),
        clip_grad=_plain(wrapper["clip_grad"]) if wrapper.get("clip_grad") else None,
        accumulate=wrapper.get("accumulative_counts", 1),
        amp=_amp(wrapper),
    )


def batch_size(config: Config, name: str) -> int:
    """Images of an optimizer step in the set-up that the config's learning rate was chosen for."""
    base = (config.get("auto_scale_lr") or {}).get("base_batch_size")
    if base:
        return int(base)
    devices = re.search(r"(?<![0-9])(\d+)xb(\d+)(?![0-9])", name)
    if devices:
        return int(devices[1]) * int(devices[2])
    return int(config.train_dataloader["batch_size"])


def _fraction(
    scheduler: dict[str, Any], iterations: int, iterations_per_epoch: int
) -> dict[str, Any]:
    """A scheduler by fractions; its length is the whole run where it names none."""
    made = _plain(scheduler)
    if made.get("type") not in _BY_FRACTION:
        raise UserError(
            f"the config's scheduler {made.get('type')} cannot run on a fraction of a budget: "
            "set the task's option 'schedule' to a recipe by name"
        )
    by_epoch = made.pop("by_epoch", True)
    made.pop("convert_to_iter_based", None)
    unit = iterations_per_epoch / iterations if by_epoch else 1 / iterations
    made["begin"] = min(1.0, made.get("begin", 0) * unit)
    made["end"] = min(1.0, made["end"] * unit) if made.get("end") else 1.0
    if "T_max" in made:
        made["T_max"] = min(1.0, made["T_max"] * unit)
    if "milestones" in made:
        made["milestones"] = [m * unit for m in made["milestones"]]
    return made


def _amp(wrapper: dict[str, Any]) -> str | None:
    if wrapper.get("type") != "AmpOptimWrapper":
        return None
    return wrapper.get("dtype") or "float16"


def _plain(node: Any) -> Any:
    """Lists, dicts and scalars instead of mmengine's own types."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    return node
