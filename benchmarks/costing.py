"""What a deployable network costs, as measurements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mmengine.model import BaseModel
from torch import nn

from benchmarks.building import Built
from benchmarks.meters.inference_energy import inference_energy
from benchmarks.meters.latency import latency
from benchmarks.meters.modes import forward
from benchmarks.meters.operations import count_macs
from benchmarks.meters.parameters import disk_size, parameters
from benchmarks.records import Measurement
from tasks.errors import UserError


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
