"""What a trained model and its deployable networks cost, as measurements."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from torch import nn

from benchmarks.building import Built
from benchmarks.meters.inference_energy import inference_energy
from benchmarks.meters.latency import latency
from benchmarks.meters.memory import explain_peak
from benchmarks.meters.modes import forward
from benchmarks.meters.operations import count_macs, count_train_flops
from benchmarks.meters.parameters import disk_size, parameters
from benchmarks.records import Measurement
from benchmarks.training.optim import optim_wrapper_config
from tasks.errors import UserError

SMALL_BATCH = 4
"""Images in the step whose operations are counted, or all of a smaller data set: two would do,
norms need more than one."""


def training_costs(built: Built, model: BaseModel) -> list[Measurement]:
    """Parameters, operations and memory of one training step of the method on real batches.

    Args:
        built: the run's parts.
        model: the trained model; copies of it are stepped, it is left as it is.
    """
    count = parameters(model)
    found = [
        Measurement("params", count.stored),
        Measurement("params_trainable", count.trainable),
    ]
    try:
        batch = first_batch(built, SMALL_BATCH)
        step = one_step(built, model, batch)[0]
        found.append(Measurement("train_flops", count_train_flops(step, len(batch["inputs"]))))
    except UserError as error:
        found.append(Measurement("train_flops", None, str(error)))
    batch = first_batch(built, built.recipe.batch_size)
    step, copied, optimizer = one_step(built, model, batch)
    return found + explain_peak(copied, step, optimizer)


def first_batch(built: Built, batch_size: int) -> dict[str, Any]:
    """The first training batch of a run."""
    return next(iter(built.task.batches(batch_size, built.spec.seed, built.device).epoch(0)))


def one_step(
    built: Built, model: BaseModel, batch: dict[str, Any]
) -> tuple[Callable[[], None], BaseModel, Any]:
    """A function that makes one real training step, the copy that it steps, its optimizer."""
    copied = copy.deepcopy(model).train()
    config = optim_wrapper_config(built.recipe, built.method.paramwise, built.device)
    wrapper = build_optim_wrapper(copied, config)

    def step() -> None:
        built.method.train_step(copied, batch, wrapper)

    return step, copied, wrapper.optimizer


def variant_costs(built: Built, model: BaseModel) -> list[Measurement]:
    """Parameters, size, operations, latency and energy of one deployable network."""
    count = parameters(model)
    found = [
        Measurement("params_inference", count.stored),
        Measurement("disk_size", disk_size(model)),
    ]
    example = built.task.example_input(1, built.device)
    counted = [
        ("macs", model, "plain", built.task.forward),
        ("macs@fvcore", model, "fvcore", built.task.forward),
    ]
    if built.task.backbone_is_part:
        counted.append(("macs_backbone", model.backbone, "plain", forward))
    for metric, network, counting, run in counted:
        try:
            found.append(Measurement(metric, count_macs(network, example, counting, run)))
        except UserError as error:
            found.append(Measurement(metric, None, str(error)))
    energy = inference_energy(
        model,
        lambda size: built.task.example_input(size, built.device),
        max(built.spec.latency_batch_sizes),
        built.device,
        built.task.infer,
    )
    return [*found, *latencies(built, model), energy]


def latencies(built: Built, model: BaseModel) -> list[Measurement]:
    """Latency of the whole inference and, where it is a part, of the backbone alone."""

    def timed(network: nn.Module, run: Callable[..., object]) -> list[Measurement]:
        return latency(
            network,
            lambda size: built.task.example_input(size, built.device),
            built.spec.latency_batch_sizes,
            built.device,
            run=run,
        )

    found = timed(model, built.task.infer)
    if built.task.backbone_is_part:
        found += [
            replace(m, metric=m.metric.replace("latency", "latency_backbone"))
            for m in timed(model.backbone, forward)
            if m.metric.startswith("latency")
        ]
    return found
