"""From a recipe to mmengine's optimizer wrapper and schedulers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS, PARAM_SCHEDULERS
from torch import nn

from tasks.base import Recipe
from tasks.errors import UserError, unknown_name
from tasks.openmmlab.names import require_type


def merge_recipe(default: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with the changes of a suite or of a method's phase.

    ``optimizer`` is merged key by key, unless it names another optimizer type: momentum means
    nothing to Adam. Every other field is replaced.

    Raises:
        UserError: a change is no field of a recipe.
    """
    names = [f.name for f in fields(Recipe)]
    for key in changes:
        if key not in names:
            raise unknown_name("recipe field", key, names)
    merged = dict(changes)
    if "schedule" in merged:
        merged["schedule"] = tuple(merged["schedule"])
    if "optimizer" in merged:
        given = merged["optimizer"]
        same = given.get("type", default.optimizer.get("type")) == default.optimizer.get("type")
        merged["optimizer"] = {**default.optimizer, **given} if same else dict(given)
    return replace(default, **merged)


class _Clips:
    """Clips the gradient and leaves its norm on the device.

    mmengine logs the norm, for which the host waits in every step.
    """

    def _clip_grad(self: Any) -> None:
        groups = self.optimizer.param_groups
        parameters = [p for group in groups for p in group["params"] if p.grad is not None]
        if parameters:
            self.clip_func(parameters, **self.clip_grad_kwargs)


@OPTIM_WRAPPERS.register_module()
class PlainOptimWrapper(_Clips, OptimWrapper):
    """mmengine's, which does not wait for the norm of a clipped gradient."""


@OPTIM_WRAPPERS.register_module()
class ScaledOptimWrapper(_Clips, AmpOptimWrapper):
    """float16 autocast with loss scaling, likewise."""


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(PlainOptimWrapper):
    """bfloat16 autocast without loss scaling, on any device.

    mmengine's ``AmpOptimWrapper`` refuses the CPU and always brings a gradient scaler, which
    bfloat16's range makes needless.
    """

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the forward pass on the model's device."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


def check_types(recipe: Recipe) -> None:
    """Refuse an optimizer or a scheduler that mmengine's registries do not hold.

    Raises:
        UserError: names the first.
    """
    for kind, registry, configs in (
        ("optimizer", OPTIMIZERS, [recipe.optimizer]),
        ("scheduler", PARAM_SCHEDULERS, list(recipe.schedule)),
    ):
        for config in configs:
            require_type(kind, config, registry.module_dict)


def optim_wrapper_config(
    recipe: Recipe, paramwise: Mapping[str, Mapping[str, float]], device: torch.device
) -> dict[str, Any]:
    """Mmengine's config of the optimizer wrapper for a recipe.

    Args:
        recipe: the merged recipe.
        paramwise: a method's settings by substring of the parameter name; they join the
            recipe's ``custom_keys``.
        device: where the run trains.

    Raises:
        UserError: float16 was requested on a CPU.
    """
    config: dict[str, Any] = {
        "type": "PlainOptimWrapper",
        "optimizer": dict(recipe.optimizer),
        "accumulative_counts": recipe.accumulate,
    }
    if recipe.clip_grad:
        config["clip_grad"] = dict(recipe.clip_grad)
    keys = {**recipe.paramwise.get("custom_keys", {}), **{k: dict(v) for k, v in paramwise.items()}}
    settings = {**recipe.paramwise, **({"custom_keys": keys} if keys else {})}
    if settings:
        config["paramwise_cfg"] = settings
        # mmengine cannot multiply a decay that is not there.
        config["optimizer"].setdefault("weight_decay", 0.0)
    if recipe.amp == "bfloat16":
        config["type"] = "AutocastOptimWrapper"
    elif recipe.amp == "float16":
        if device.type != "cuda":
            raise UserError("amp float16 needs a CUDA device; use amp: bfloat16 on a CPU")
        config.update(type="ScaledOptimWrapper", dtype="float16")
    return config


def schedule_in_batches(
    schedule: Sequence[Mapping[str, Any]], batches: int
) -> list[dict[str, Any]]:
    """Turn fractions of a budget into iterations.

    Args:
        schedule: scheduler configs with ``begin``, ``end``, ``T_max`` and ``milestones`` from 0
            to 1.
        batches: of the phase.

    Returns:
        Configs by iteration; schedulers that would last no iteration are left out.
    """
    built = []
    for config in schedule:
        config = dict(config, by_epoch=False)
        for key in ("begin", "end", "T_max"):
            if key in config:
                config[key] = round(config[key] * batches)
        if "milestones" in config:
            config["milestones"] = [round(m * batches) for m in config["milestones"]]
        if config.get("end", batches) > config.get("begin", 0):
            built.append(config)
    return built
