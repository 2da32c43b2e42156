"""The columns of tables: which metric in which phase, and which ones are shown by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.budget import METERED
from benchmarks.records.row import FAILED, METRICS, OK, Metric, Row, metric_info

TRAINING = "training"
"""Stands for the phases of a run that train, whatever its method calls them."""

OUTSIDE_TRAINING = frozenset({"setup", "val", "test", "val_best", "test_best", "inference"})
QUALITIES = ("top1", "box_ap", "mask_ap", "miou")
"""Metrics that stand for how good a network is, one or two a task."""

TO_TARGET = ("time_to_target", "energy_to_target", "flops_to_target")
SPENT = tuple(f"spent_{unit}" for unit in METERED)
"""What a run spent of a budget that a meter watched."""

_SUMMED_UNITS = ("s", "J")
_NOT_SUMMED = (*TO_TARGET, "epoch_time", "energy_epoch", "latency")
_COST_UNITS = ("count", "MAC/image", "MAC", "FLOP/image", "FLOP", "B", "s", "J", "J/image")


@dataclass(frozen=True)
class Column:
    """A metric in a phase.

    In ``training``, times and energies of phases are added up; of anything else the largest counts.
    """

    metric: str
    phase: str

    @property
    def info(self) -> Metric:
        """Unit, direction and title of the metric."""
        return metric_info(self.metric)

    @property
    def key(self) -> str:
        """``top1:test``."""
        return f"{self.metric}:{self.phase}"

    @property
    def is_cost(self) -> bool:
        """Whether a ratio to the baseline means something: less of it is cheaper."""
        return self.info.better == "lower" and self.info.unit in _COST_UNITS

    @property
    def adds_up(self) -> bool:
        """Whether the values of a run's phases add up to one of the whole training."""
        name = self.metric.split("@")[0]
        if name in ("batches", "optimizer_steps") or name.startswith("spent_"):
            return True
        return self.info.unit in _SUMMED_UNITS and name not in _NOT_SUMMED


def default_columns(rows: Sequence[Row]) -> list[Column]:
    """The columns of a table where none are requested: quality first, then costs.

    Memory is that of the GPU allocator where there is one, else the resident set; energy is the
    GPU's counter, else the CPU's package. What a metered budget had spent, and what a target took,
    are shown where there was one.
    """
    measured = {(row.metric, row.phase) for row in rows if row.status == OK}
    seen = {(row.metric, row.phase) for row in rows if row.status != FAILED}

    def first(*metrics: str) -> Column:
        # With nothing measured the last one's reason tells most: it needs no GPU.
        for where, order in ((measured, metrics), (seen, metrics[::-1])):
            for metric in order:
                if any(found == metric for found, _ in where):
                    return Column(metric, TRAINING)
        return Column(metrics[-1], TRAINING)

    columns = [
        Column(metric, phase)
        for metric in qualities(rows)
        for phase in ("test", "test_best")
        if (metric, phase) in seen
    ]
    columns += [Column("params_inference", "inference"), Column("macs", "inference")]
    if ("macs_executed", "inference") in measured:
        columns.append(Column("macs_executed", "inference"))
    columns.append(first("mem_peak_allocated", "mem_peak_resident"))
    if ("mem_activations", "setup") in measured:
        columns.append(Column("mem_activations", "setup"))
    columns.append(Column("train_time", TRAINING))
    columns.append(first("energy_gpu_counter", "energy_cpu_package"))
    asked = {metric for metric, _ in seen}
    columns += [Column(metric, TRAINING) for metric in (*SPENT, *TO_TARGET) if metric in asked]
    return columns


def qualities(rows: Sequence[Row]) -> tuple[str, ...]:
    """The metrics that stand for quality: those of :data:`QUALITIES` that there are.

    For another task all that it measures on validation and on test, in their order.
    """
    of_val = {row.metric for row in rows if row.phase == "val"}
    judged = dict.fromkeys(row.metric for row in rows if row.phase == "test")
    known = tuple(metric for metric in QUALITIES if metric in judged)
    return known or tuple(metric for metric in judged if metric in of_val)


def column_for(name: str, rows: Sequence[Row]) -> Column:
    """The column that ``top1``, ``top1:val`` or ``latency@32`` names.

    Without a phase it is the test, else inference, else the set-up, else training as a whole.

    Raises:
        UserError: no such metric; names the nearest one.
    """
    metric, _, phase = name.partition(":")
    metric_info(metric)
    present = {row.phase for row in rows if row.metric == metric}
    if not phase:
        phase = next((p for p in ("test", "inference", "setup") if p in present), TRAINING)
        if phase == "inference" and metric.split("@")[0].startswith("energy_gpu"):
            phase = TRAINING
    return Column(metric, phase)


def all_columns(rows: Sequence[Row]) -> list[Column]:
    """Every metric that was measured or requested, the default columns first.

    What stands for a whole run in the phase ``setup`` is not shown phase by phase as well.
    """
    phases = {(row.metric, row.phase): None for row in rows if row.status != FAILED}
    phases = {
        (metric, phase): None
        for metric, phase in phases
        if phase in OUTSIDE_TRAINING or (metric, "setup") not in phases
    }
    known = list(METRICS)
    found = [
        Column(metric, phase if phase in OUTSIDE_TRAINING else TRAINING) for metric, phase in phases
    ]
    found.sort(key=lambda column: known.index(column.metric.split("@")[0]))
    return list(dict.fromkeys([*default_columns(rows), *found]))
