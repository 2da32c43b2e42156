"""What a deployable network costs, as measurements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from mmengine.model import BaseModel
from torch import nn

from benchmarks.engine.building import Built
from benchmarks.meters.guard import guarded
from benchmarks.meters.inference_energy import inference_energy
from benchmarks.meters.latency import latency
from benchmarks.meters.modes import forward
from benchmarks.meters.parameters import disk_size, parameters, weight_bytes
from benchmarks.meters.real_images import RealImages
from benchmarks.meters.variant_operations import VariantOperations
from benchmarks.records.row import Measurement
from tasks.base import Task

SPLIT = "test"


def variant_costs(built: Built, model: BaseModel) -> list[Measurement]:
    """Parameters, size, operations, latency and energy of one deployable network.

    A meter that raises anything leaves its own rows without a value, and the others alone.
    """
    operations = variant_operations(built.task, model, built.device)
    found = guarded(("params_inference", "weights_bytes"), lambda: stored(model))
    found += guarded(("disk_size",), lambda: Measurement("disk_size", disk_size(model)))
    found += operations.rows()

    def examples(size: int) -> torch.Tensor | list[torch.Tensor]:
        if operations.depends:
            return operations.images.batches(size)
        return built.task.example_input(size, built.device)

    if not built.spec.latency_batch_sizes:
        return found
    found += latencies(built, model, examples)
    size = max(built.spec.latency_batch_sizes)
    return found + guarded(
        (f"energy_image@{size}",),
        lambda: inference_energy(model, examples, size, built.device, built.task.infer),
    )


def variant_operations(task: Task, model: BaseModel, device: torch.device) -> VariantOperations:
    """What counts the operations of a network, on the inputs and test images of its task."""
    return VariantOperations(
        model,
        device,
        lambda size: task.example_input(size, device),
        RealImages(
            lambda: task.eval_size(SPLIT, device),
            lambda indices: task.eval_images(SPLIT, indices, device),
            model,
            device,
        ),
        task.forward,
        model.backbone if task.backbone_is_part else None,
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
