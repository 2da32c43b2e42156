"""From a run's specification to objects: device, task, method, recipe, model."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import nn

from benchmarks.engine.kernels import set_kernels
from benchmarks.engine.optim import check_types, merge_recipe, optim_wrapper_config
from benchmarks.spec import RunSpec
from benchmarks.suites.plugins import import_method_file
from methods.base import METHODS, Method
from tasks.base import TASKS, Recipe, Task, TaskView, sealed_test_split
from tasks.errors import UserError
from tasks.registry import build

log = logging.getLogger("depthbench")


@dataclass
class Built:
    """Everything a run needs before its model is drawn."""

    spec: RunSpec
    device: torch.device
    task: Task
    method: Method
    recipe: Recipe
    label: str


def build_run(spec: RunSpec, begun: Callable[[str], None] = lambda part: None) -> Built:
    """Build the parts of a run, with every name and option checked.

    Args:
        spec: the run.
        begun: called with ``device``, ``task``, ``method`` and ``recipe`` before each is built.

    Raises:
        UserError: something in the specification is unknown, impossible or absent.
    """
    begun("device")
    device = select_device(spec.device)
    if spec.threads:
        torch.set_num_threads(spec.threads)
    if spec.method_file:
        import_method_file(spec.method_file)
    begun("task")
    factory, values = TASKS.find(spec.task)
    task = build(f"task '{spec.task}'", factory, {**spec.task_options, **values})
    begun("method")
    kind, values = METHODS.find(spec.method)
    method = build(f"method '{spec.method}'", kind, {**spec.method_options, **values})
    begun("recipe")
    recipe = merge_recipe(task.recipe, spec.recipe)
    check_types(recipe)
    if recipe.compile and method.not_compiled:
        raise UserError(
            f"{spec.method} cannot be trained with compile: true: {method.not_compiled}"
        )
    optim_wrapper_config(recipe, method.paramwise, device)
    set_kernels(device, recipe.tf32, task.fixed_shapes)
    begun("task")
    task.check()
    return Built(spec, device, task, method, recipe, spec.method_label)


def select_device(name: str) -> torch.device:
    """The device of a run.

    ``cpu`` hides any GPU from this process, so that nothing in it can pick one; ``auto`` is the
    first GPU where there is one.

    Raises:
        UserError: a GPU was requested that is not there, the name is none, or a launcher started
            several processes.
    """
    if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
        raise UserError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, and a run trains on one device: start "
            "depthbench without torchrun, or unset WORLD_SIZE"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, not '{name}'") from error
    if device.type != "cuda":
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, not '{name}'")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (device.index or 0) >= count:
        found = f"{count} CUDA device(s)" if count else "no CUDA device"
        raise UserError(f"device '{name}' was requested but torch finds {found}; use device: cpu")
    torch.cuda.set_device(device.index or 0)
    return torch.device("cuda", device.index or 0)


def prepared_model(
    built: Built,
    note: Callable[[str], None] = log.warning,
    metered: Callable[[str], AbstractContextManager[Any]] = nullcontext,
) -> BaseModel:
    """Draw the task's model from the run's seed and let the method change it.

    The task's model is drawn before the method acts, so that methods of one seed start from the
    same weights wherever their shapes agree.

    Args:
        built: the run's parts.
        note: takes a sentence when the method changed nothing.
        metered: gives a context for what the method does in ``setup`` and ``prepare``.
    """
    torch.manual_seed(built.spec.seed)
    model = built.task.build_model()
    before = structure(model)
    with sealed_test_split("the method, in setup or prepare"):
        with metered("setup"):
            built.method.setup(TaskView(built.task))
        with metered("prepare"):
            model = built.method.prepare(model)
    if not isinstance(model, nn.Module):
        raise UserError(
            f"prepare of the method {built.label} returned {model!r} instead of the model: end it "
            "with 'return model'"
        )
    if not built.method.changes_nothing and not acts_elsewhere(built.method):
        if structure(model) == before:
            note(f"warning: the method changed nothing in {built.task.arch}")
    return model


def structure(model: nn.Module) -> list[tuple[Any, ...]]:
    """What a method can change: modules, their hooks and settings, and parameters' shapes."""
    modules = [
        (
            name,
            type(m).__name__,
            m.extra_repr(),
            type(vars(m).get("forward")).__name__,  # a forward of the instance's own
            len(m._forward_hooks),
            len(m._forward_pre_hooks),
        )
        for name, m in model.named_modules()
    ]
    parameters = [(n, tuple(p.shape), p.requires_grad) for n, p in model.named_parameters()]
    return [*modules, *parameters]


def acts_elsewhere(method: Method) -> bool:
    """Whether a method has a training step, phases or hooks of its own."""
    kind = type(method)
    return any(
        getattr(kind, name) is not getattr(Method, name)
        for name in ("train_step", "phases", "hooks")
    )
