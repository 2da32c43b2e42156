"""What a trained model and its deployable networks cost, as measurements."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from torch import nn

from benchmarks.building import Built
from benchmarks.meters.guard import guarded
from benchmarks.meters.inference_energy import inference_energy
from benchmarks.meters.latency import latency
from benchmarks.meters.memory import explain_peak
from benchmarks.meters.modes import forward
from benchmarks.meters.operations import count_train_flops
from benchmarks.meters.parameters import disk_size, parameters, weight_bytes
from benchmarks.meters.variant_operations import VariantOperations
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
    """Parameters, size, operations, latency and energy of one deployable network.

    A meter that raises anything leaves its own rows without a value, and the others alone.
    """
    operations = VariantOperations(built.task, model, built.device)
    found = guarded(("params_inference", "weights_bytes"), lambda: stored(model))
    found += guarded(("disk_size",), lambda: Measurement("disk_size", disk_size(model)))
    found += operations.rows()

    def examples(size: int) -> torch.Tensor | list[torch.Tensor]:
        if operations.depends:
            return operations.images.batches(size)
        return built.task.example_input(size, built.device)

    found += latencies(built, model, examples)
    size = max(built.spec.latency_batch_sizes)
    return found + guarded(
        (f"energy_image@{size}",),
        lambda: inference_energy(model, examples, size, built.device, built.task.infer),
    )


def stored(model: BaseModel) -> list[Measurement]:
    """Parameters and the bytes of all weights, with a note where the two part."""
    count, weights = parameters(model).stored, weight_bytes(model)
    note = ""
    if weights.outside:
        note = f"{weights.outside:,} bytes of weights are stored outside of parameters"
    return [
        Measurement("params_inference", count, note),
        Measurement("weights_bytes", weights.stored, note),
    ]


def latencies(
    built: Built,
    model: BaseModel,
    examples: Callable[[int], torch.Tensor | list[torch.Tensor]],
) -> list[Measurement]:
    """Latency of the whole inference and, where it is a part, of the backbone alone.

    Args:
        built: the run's parts.
        model: the network.
        examples: what :func:`benchmarks.meters.latency.latency` runs on.
    """

    def timed(network: nn.Module, run: Callable[..., object], size: int) -> list[Measurement]:
        return latency(network, examples, (size,), built.device, run=run)

    def backbone(size: int) -> Measurement:
        (row,) = timed(model.backbone, forward, size)[:1]
        return replace(row, metric=f"latency_backbone@{size}")

    found: list[Measurement] = []
    for size in built.spec.latency_batch_sizes:
        names = (f"latency@{size}", f"throughput@{size}")
        found += guarded(names, partial(timed, model, built.task.infer, size))
    if built.task.backbone_is_part:
        for size in built.spec.latency_batch_sizes:
            found += guarded((f"latency_backbone@{size}",), partial(backbone, size))
    return found
