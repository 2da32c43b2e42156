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
from benchmarks.engine.starting import Start
from benchmarks.records.row import METRICS, declare_metric
from benchmarks.spec import RunSpec
from benchmarks.suites.plugins import import_method_file
from methods.base import METHODS, Method, overrides
from tasks.base import TASKS, Recipe, Task, TaskView, sealed_test_split
from tasks.errors import UserError, unknown_name
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
    if method.families and task.family not in method.families:
        raise UserError(
            f"the method {spec.method} is for {' and '.join(method.families)}, not for "
            f"{task.family}: leave it out, or choose another task"
        )
    declare_task_metrics(task)
    if spec.target is not None:
        begun("target")
        spec.target.require_known()
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


def declare_task_metrics(task: Task) -> None:
    """Make the metrics that a task declares known.

    Raises:
        UserError: its primary metric is neither declared nor known.
    """
    for name, metric in task.metrics.items():
        declare_metric(name, metric)
    base = task.headline.split("@")[0]
    if base not in METRICS:
        raise unknown_name(f"primary metric of {task.dataset}", task.headline, METRICS)
    if METRICS[base].better not in ("higher", "lower"):
        raise UserError(
            f"the primary metric {task.headline} of {task.dataset} does not say which way is "
            f"better: declare it as metrics = {{'{base}': Metric(unit, 'higher')}}, or 'lower'"
        )


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
    start: Start | None = None,
) -> BaseModel:
    """Draw the task's model from the run's seed and let the method change it.

    The task's model is drawn before the method acts, so that methods of one seed start from the
    same weights wherever their shapes agree.

    Args:
        built: the run's parts.
        note: takes a sentence when the method changed nothing.
        metered: gives a context for what the method does in ``setup`` and ``prepare``.
        start: another run's weights: of the task's own network, or of the prepared one.

    Raises:
        UserError: the method refuses the model, or those weights are of another network.
    """
    torch.manual_seed(built.spec.seed)
    model = built.task.build_model()
    before_prepare = start is not None and start.fits(model)
    if start is not None and before_prepare:
        model.load_state_dict(start.weights)
    before = structure(model)
    with sealed_test_split("the method, in setup or prepare", training=True):
        with metered("setup"):
            built.method.setup(TaskView(built.task))
        with metered("prepare"):
            model = built.method.prepare(model)
    if not isinstance(model, nn.Module):
        raise UserError(
            f"prepare of the method {built.label} returned {model!r} instead of the model: end it "
            "with 'return model'"
        )
    if start is not None and not before_prepare:
        if not start.fits(model):
            raise UserError(
                f"this run starts from {start.name}, whose network is another: "
                f"{start.differing(model)} here"
            )
        model.load_state_dict(start.weights)
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
    acting = ("train_step", "phases", "hooks", "batches", "companions", "finish", "variants")
    return any(overrides(method, name) for name in acting)
