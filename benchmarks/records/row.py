"""The tidy row, and what every metric is: its unit, which way is better, how tables show it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from tasks.errors import unknown_name
from tasks.metric import Metric

OK, UNAVAILABLE, FAILED = "ok", "unavailable", "failed"
REMARK = "remark: "
"""Begins the part of a reason that must stand beside the value wherever it is shown."""
BUSY = "busy machine"
"""Begins the part of a reason that says that others held the cores while a value was measured."""


_MIB = float(2**20)


def _memory(title: str) -> Metric:
    return Metric("B", "lower", title=title, shown="MiB", scale=_MIB)


METRICS: dict[str, Metric] = {
    "top1": Metric("%", "higher", title="top-1"),
    "top5": Metric("%", "higher", title="top-5"),
    "nll": Metric("nats", "lower", title="NLL"),
    "ece": Metric("%", "lower", title="ECE (15 bins)"),
    "macs_executed": Metric(
        "MAC/image", "lower", title="MACs executed, mean", shown="M", scale=1e6
    ),
    "macs_executed_backbone": Metric(
        "MAC/image", "lower", title="MACs executed in the backbone, mean", shown="M", scale=1e6
    ),
    "box_ap": Metric("%", "higher", title="box AP"),
    "box_ap50": Metric("%", "higher", title="box AP50"),
    "box_ap75": Metric("%", "higher", title="box AP75"),
    "box_ap_small": Metric("%", "higher", title="box AP, small"),
    "box_ap_medium": Metric("%", "higher", title="box AP, medium"),
    "box_ap_large": Metric("%", "higher", title="box AP, large"),
    "mask_ap": Metric("%", "higher", title="mask AP"),
    "mask_ap50": Metric("%", "higher", title="mask AP50"),
    "mask_ap75": Metric("%", "higher", title="mask AP75"),
    "mask_ap_small": Metric("%", "higher", title="mask AP, small"),
    "mask_ap_medium": Metric("%", "higher", title="mask AP, medium"),
    "mask_ap_large": Metric("%", "higher", title="mask AP, large"),
    "miou": Metric("%", "higher", title="mIoU"),
    "aacc": Metric("%", "higher", title="aAcc"),
    "macc": Metric("%", "higher", title="mAcc"),
    "iou": Metric("%", "higher", title="IoU"),
    "params": Metric("count", "lower", title="params", shown="k", scale=1e3),
    "params_trainable": Metric("count", "lower", title="trainable params", shown="k", scale=1e3),
    "params_inference": Metric("count", "lower", title="params (deployed)", shown="k", scale=1e3),
    "params_companions": Metric(
        "count", "lower", title="params of companions", shown="k", scale=1e3
    ),
    "macs": Metric("MAC/image", "lower", title="MACs", shown="M", scale=1e6),
    "macs_per_pass": Metric("MAC", "lower", title="MACs per forward pass", shown="M", scale=1e6),
    "macs_backbone": Metric(
        "MAC/image", "lower", title="MACs of the backbone", shown="M", scale=1e6
    ),
    "train_flops": Metric("FLOP/image", "lower", title="training FLOPs", shown="M", scale=1e6),
    "weights_bytes": Metric("B", "lower", title="stored weights", shown="MB", scale=1e6),
    "disk_size": Metric("B", "lower", title="disk", shown="MB", scale=1e6),
    "mem_peak_allocated": _memory(title="peak allocated"),
    "mem_peak_reserved": _memory(title="peak reserved"),
    "mem_peak_process": _memory(title="peak GPU process"),
    "mem_peak_resident": _memory(title="peak RSS"),
    "mem_parameters": _memory(title="parameters"),
    "mem_gradients": _memory(title="gradients"),
    "mem_optimizer": _memory(title="optimizer state"),
    "mem_activations": _memory(title="activation memory"),
    "mem_rest": _memory(title="rest"),
    "mem_alloc_retries": Metric("count", "lower", title="allocator retries"),
    "train_time": Metric("s", "lower", title="training time"),
    "epoch_time": Metric("s", "lower", title="epoch time"),
    "warmup_time": Metric("s", "lower", title="first-step warm-up"),
    "eval_time": Metric("s", "lower", title="evaluation time"),
    "checkpoint_time": Metric("s", "lower", title="checkpoint time"),
    "data_time": Metric("s", "lower", title="time waiting for data"),
    "counting_time": Metric("s", "lower", title="time of steps whose operations were counted"),
    "charged_time": Metric("s", "lower", title="untimed steps at the median step"),
    "unbudgeted_time": Metric("s", "lower", title="time outside the budget"),
    "budget_spent": Metric("%", "", title="budget spent"),
    "total_time": Metric("s", "lower", title="total time"),
    "batches": Metric("count", "", title="batches"),
    "samples": Metric("count", "", title="images trained on"),
    "optimizer_steps": Metric("count", "", title="optimizer steps"),
    "spent_epochs": Metric("count", "", title="epochs spent"),
    "spent_samples": Metric("count", "", title="images spent"),
    "spent_steps": Metric("count", "", title="optimizer steps spent"),
    "spent_seconds": Metric("s", "", title="seconds spent"),
    "spent_joules": Metric("J", "", title="joules spent"),
    "spent_train_flops": Metric("FLOP", "", title="training FLOPs spent", shown="G", scale=1e9),
    "time_to_target": Metric("s", "lower", title="time to target"),
    "energy_to_target": Metric("J", "lower", title="energy to target"),
    "flops_to_target": Metric(
        "FLOP", "lower", title="training FLOPs to target", shown="G", scale=1e9
    ),
    "latency": Metric("s", "lower", title="latency", shown="ms", scale=1e-3),
    "latency_backbone": Metric(
        "s", "lower", title="latency of the backbone", shown="ms", scale=1e-3
    ),
    "throughput": Metric("images/s", "higher", title="throughput"),
    "energy_gpu_counter": Metric("J", "lower", title="GPU energy (counter)"),
    "energy_gpu_integrated": Metric("J", "lower", title="GPU energy (integrated)"),
    "energy_gpu_error": Metric("J", "lower", title="GPU energy error"),
    "energy_cpu_package": Metric("J", "lower", title="CPU energy"),
    "energy_idle": Metric("J", "lower", title="idle draw over the same time"),
    "energy_epoch": Metric("J", "lower", title="energy of an epoch"),
    "energy_image": Metric("J/image", "lower", title="energy per image, inference"),
}


RESERVED = frozenset(METRICS)
"""Metrics that are the harness's and the tasks' to measure."""


def declare_metric(name: str, metric: Metric | str) -> None:
    """Make a method's own metric known.

    Args:
        name: as rows call it; what follows "@" is a condition and no part of it.
        metric: as the method declares it; or its unit, where no more is known of it, which
            changes nothing that is known.
    """
    base = name.split("@")[0]
    if isinstance(metric, str):
        METRICS.setdefault(base, Metric(metric, "", base.replace("_", " ")))
    elif base not in RESERVED:
        METRICS[base] = metric if metric.title else replace(metric, title=base.replace("_", " "))


def stored_metrics(declared: Mapping[str, Metric | str]) -> dict[str, Any]:
    """A method's declarations as a manifest holds them."""
    return {
        name: asdict(metric) if isinstance(metric, Metric) else metric
        for name, metric in declared.items()
    }


def declare_stored(manifest: Mapping[str, Any]) -> None:
    """Make the metrics known that the method of a finished run has declared."""
    for name, stored in (manifest.get("metrics") or {}).items():
        declare_metric(name, stored if isinstance(stored, str) else Metric(**stored))


@dataclass(frozen=True)
class Measurement:
    """One measured value, or the reason why there is none.

    ``value`` is in the metric's base unit; None makes the row ``unavailable`` and then ``reason``
    must say why in words a user understands. With a value, ``reason`` is a note (an error bar, a
    counting convention, a batch size).
    """

    metric: str
    value: float | None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.metric.split("@")[0] not in METRICS:
            raise unknown_name("metric", self.metric, METRICS)
        if self.value is None and not self.reason:
            raise ValueError(f"{self.metric} has neither a value nor a reason")
        if self.value is not None and not math.isfinite(self.value):
            object.__setattr__(self, "reason", self.reason or f"measured as {self.value}")
            object.__setattr__(self, "value", None)


def busy_note(reason: str) -> str:
    """The part of a row's reason that says that the machine was busy; empty where none does."""
    return next((part for part in reason.split("; ") if part.startswith(BUSY)), "")


def is_busy(row: Measurement | Row) -> bool:
    """Whether a value was measured while others held the cores, and does not count in a verdict."""
    return row.value is not None and bool(busy_note(row.reason))


def noted(measurement: Measurement, note: str) -> Measurement:
    """The measurement with a further note; unchanged without a value, or with the note already."""
    if measurement.value is None or not note or note in measurement.reason.split("; "):
        return measurement
    return replace(measurement, reason="; ".join(filter(None, (measurement.reason, note))))


@dataclass(frozen=True)
class Row:
    """One measurement of one run: the line of every ``rows.csv``."""

    suite: str
    run_id: str
    task: str
    dataset: str
    arch: str
    method: str
    variant: str
    seed: int
    phase: str
    metric: str
    value: float | None
    unit: str
    status: str
    reason: str

    @classmethod
    def of(cls, measurement: Measurement, **identity: Any) -> Row:
        """A row from a measurement; ``identity`` fills ``suite`` to ``phase``."""
        return cls(
            **identity,
            metric=measurement.metric,
            value=measurement.value,
            unit=METRICS[measurement.metric.split("@")[0]].unit,
            status=UNAVAILABLE if measurement.value is None else OK,
            reason=measurement.reason,
        )

    def as_dict(self) -> dict[str, Any]:
        """The row as a mapping in column order; a missing value is None."""
        return asdict(self)


COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(Row))


def metric_info(name: str) -> Metric:
    """The metric behind a row's name; ``latency@32`` is ``latency`` at batch size 32.

    Raises:
        UserError: no such metric; names the nearest one.
    """
    base = name.split("@")[0]
    if base not in METRICS:
        raise unknown_name("metric", base, METRICS)
    return METRICS[base]
