"""Rows of single runs -> one line a deployable network, with statistics over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.records import FAILED, OK, Metric, Row, metric_info
from benchmarks.statistics.samples import describe, geometric_mean
from tasks.errors import UserError

_Group = tuple[str, str, str, str]
"""Task, data set, architecture, method."""
_Values = dict[str, dict[int, float | str]]
"""Column key -> seed -> value, or the reason why there is none."""

TRAINING = "training"
"""Stands for the phases of a run that train, whatever its method calls them."""

_OUTSIDE_TRAINING = {"setup", "val", "test", "val_best", "test_best", "inference"}
_SUMMED_UNITS = ("s", "J")
_COST_UNITS = ("count", "MAC/image", "FLOP/image", "B", "s", "J")
RUN_FAILED = "the run failed, see below"
NOT_MEASURED = "not measured"


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


@dataclass(frozen=True)
class Cell:
    """A quantity of one network over its seeds, in the metric's base unit.

    ``mean``, ``sd`` (sample standard deviation, n - 1) and ``ratio`` are None where there is
    none; ``n`` counts the seeds with a value and ``reasons`` says why others have none.
    """

    mean: float | None = None
    sd: float | None = None
    n: int = 0
    ratio: float | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """One deployable network of one method on one task."""

    task: str
    dataset: str
    arch: str
    method: str
    variant: str
    seeds: tuple[int, ...]
    """Seeds whose runs finished."""
    cells: Mapping[str, Cell]
    """By :attr:`Column.key`."""


def default_columns(rows: Sequence[Row]) -> list[Column]:
    """The columns of a table where none are asked for: quality first, then costs.

    Memory is that of the GPU allocator where there is one, else the resident set; energy is the
    GPU's counter, else the CPU's package.
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
        for metric in ("top1", "box_ap", "mask_ap", "miou")
        for phase in ("test", "test_best")
        if (metric, phase) in seen
    ]
    columns += [Column("params_inference", "inference"), Column("macs", "inference")]
    columns.append(first("mem_peak_allocated", "mem_peak_resident"))
    columns += [Column("mem_activations", p) for m, p in sorted(measured) if m == "mem_activations"]
    columns.append(Column("train_time", TRAINING))
    columns.append(first("energy_gpu_counter", "energy_cpu_package"))
    return columns


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
        if phase == "inference" and metric.split("@")[0].startswith("energy"):
            phase = TRAINING
    return Column(metric, phase)


def summarise(
    rows: Iterable[Row], columns: Sequence[Column], baseline: str | None = None
) -> list[Line]:
    """Statistics over seeds, in the order in which methods and variants first appear.

    What belongs to a run as a whole (training time, say) stands on the line of each of its
    variants. The ratio of a cost is the geometric mean, over the seeds that both methods have,
    of the value divided by the baseline's value with the same seed.

    Args:
        rows: tidy rows of any number of runs.
        columns: what to summarise.
        baseline: the label of the method that ratios refer to; None for no ratios.

    Raises:
        UserError: two different runs have the same label and seed.
    """
    groups: dict[_Group, dict[int, list[Row]]] = {}
    for row in rows:
        runs = groups.setdefault((row.task, row.dataset, row.arch, row.method), {})
        of_seed = runs.setdefault(row.seed, [])
        if of_seed and of_seed[0].run_id != row.run_id:
            raise UserError(
                f"two runs are called {row.method} with seed {row.seed} ({of_seed[0].run_id}, "
                f"{row.run_id}): give one of the methods a 'label' in the suite"
            )
        of_seed.append(row)
    values: dict[tuple[_Group, str], _Values] = {}
    for group, by_seed in groups.items():
        for variant in _variants(by_seed):
            values[group, variant] = {
                column.key: {
                    seed: _value(found, column, variant) for seed, found in by_seed.items()
                }
                for column in columns
            }
    lines = []
    for (group, variant), found in values.items():
        task, dataset, arch, method = group
        base = _baseline(values, (task, dataset, arch, baseline or ""), variant)
        seeds = [seed for seed, rows_of_seed in groups[group].items() if not _failed(rows_of_seed)]
        cells = {
            column.key: _cell(found[column.key], base.get(column.key, {}) if column.is_cost else {})
            for column in columns
        }
        lines.append(Line(task, dataset, arch, method, variant, tuple(sorted(seeds)), cells))
    return lines


def failures(rows: Iterable[Row]) -> dict[tuple[str, str], list[int]]:
    """Failed runs: (method, reason) to seeds."""
    found: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        if row.status == FAILED:
            seeds = found.setdefault((row.method, row.reason), [])
            if row.seed not in seeds:
                seeds.append(row.seed)
    return found


def _failed(rows: Iterable[Row]) -> bool:
    return any(row.status == FAILED for row in rows)


def _variants(by_seed: Mapping[int, Sequence[Row]]) -> list[str]:
    """Names of deployable networks; one without a name where no run got so far."""
    names = {row.variant: None for rows in by_seed.values() for row in rows if row.variant}
    return list(names) or [""]


def _value(rows: Sequence[Row], column: Column, variant: str) -> float | str:
    """The quantity in one run, or the reason why there is none."""
    rows = [row for row in rows if row.metric == column.metric or row.status == FAILED]
    if _failed(rows):
        return RUN_FAILED
    own = [row for row in rows if row.variant == variant]
    rows = own or [row for row in rows if not row.variant]
    if column.phase == TRAINING:
        rows = [row for row in rows if row.phase not in _OUTSIDE_TRAINING]
    else:
        rows = [row for row in rows if row.phase == column.phase]
    missing = [row.reason for row in rows if row.value is None]
    if missing:
        return missing[0] or NOT_MEASURED
    found = [row.value for row in rows if row.value is not None]
    if not found:
        return NOT_MEASURED
    return math.fsum(found) if _adds_up(column) else max(found)


def _adds_up(column: Column) -> bool:
    per_something = ("epoch_time", "latency", "time_to_target", "energy_to_target")
    return column.metric == "steps" or (
        column.info.unit in _SUMMED_UNITS and column.metric.split("@")[0] not in per_something
    )


def _baseline(values: Mapping[tuple[_Group, str], _Values], group: _Group, variant: str) -> _Values:
    """The baseline's variant of the same name; else ``full``; else its first."""
    variants = [name for found, name in values if found == group]
    if not variants:
        return {}
    chosen = next((name for name in (variant, "full") if name in variants), variants[0])
    return values[group, chosen]


def _cell(values: Mapping[int, float | str], base: Mapping[int, float | str]) -> Cell:
    numbers = {seed: v for seed, v in values.items() if isinstance(v, float | int)}
    reasons = tuple(dict.fromkeys(v for v in values.values() if isinstance(v, str)))
    if not numbers:
        return Cell(reasons=reasons)
    ratios = [
        numbers[seed] / other
        for seed, other in base.items()
        if seed in numbers and isinstance(other, float | int) and other > 0
    ]
    positive = bool(ratios) and min(ratios) > 0
    sample = describe(numbers.values())
    return Cell(
        mean=sample.mean,
        sd=sample.std,
        n=sample.n,
        ratio=geometric_mean(ratios) if positive else None,
        reasons=reasons,
    )
