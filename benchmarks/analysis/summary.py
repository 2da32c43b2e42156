"""Rows of single runs -> one line a deployable network, with statistics over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import geometric_mean
from typing import NamedTuple

from benchmarks.analysis.columns import OUTSIDE_TRAINING, TRAINING, Column
from benchmarks.analysis.statistics.samples import describe
from benchmarks.records.row import FAILED, REMARK, Row, busy_note, is_busy
from tasks.errors import UserError

Values = dict[str, dict[int, float | str]]
"""Column key -> seed -> value, or the reason why there is none."""
Busy = dict[str, dict[int, str]]
"""Column key -> seed -> note of a value that was measured while others held the cores."""


class Found(NamedTuple):
    """What a network measured."""

    values: Values
    busy: Busy


RUN_FAILED = "the run failed, see below"
NOT_MEASURED = "not measured"

NOTED = ("params_inference",)
"""Metrics whose notes a table must not leave out: the value alone would mislead."""


class Network(NamedTuple):
    """A deployable network of a method; ``variant`` is empty where no run got so far."""

    task: str
    dataset: str
    arch: str
    method: str
    variant: str

    @property
    def setting(self) -> tuple[str, str, str]:
        """Task, data set, architecture: networks of one setting may be compared."""
        return self[:3]


@dataclass(frozen=True)
class Cell:
    """A quantity of one network over its seeds, in the metric's base unit.

    ``mean``, ``sd`` (sample standard deviation, n - 1) and ``ratio`` are None where there is
    none; ``n`` counts the seeds with a value and ``reasons`` says why others have none. ``values``
    holds either by seed. ``notes`` are those that belong beside the value. ``of_run`` tells a
    quantity of the whole run, which its variants share. ``busy`` has, of the seeds whose value was
    measured while others held the cores, the note of the row that says so; ``base_busy`` the seeds
    for which that holds of the baseline's value.
    """

    mean: float | None = None
    sd: float | None = None
    n: int = 0
    ratio: float | None = None
    reasons: tuple[str, ...] = ()
    values: Mapping[int, float | str] = field(default_factory=dict)
    of_run: bool = False
    notes: tuple[str, ...] = ()
    busy: Mapping[int, str] = field(default_factory=dict)
    base_busy: tuple[int, ...] = ()


@dataclass(frozen=True)
class Line:
    """One deployable network of one method on one task."""

    network: Network
    seeds: tuple[int, ...]
    """Seeds whose runs finished."""
    cells: Mapping[str, Cell]
    """By :attr:`Column.key`."""

    @property
    def method(self) -> str:
        """The method's label."""
        return self.network.method

    @property
    def variant(self) -> str:
        """The deployable network's name."""
        return self.network.variant


def values_by_seed(rows: Iterable[Row], columns: Sequence[Column]) -> dict[Network, Values]:
    """What each network measured, seed by seed: a value, or the reason why there is none.

    What belongs to a run as a whole (training time, say) is said of each of its variants. Networks
    stand in the order in which methods and variants first appear.

    Raises:
        UserError: two different runs have the same label and seed.
    """
    return {network: found.values for network, found in _collect(_by_method(rows), columns).items()}


def summarise(
    rows: Iterable[Row], columns: Sequence[Column], baseline: str | None = None
) -> list[Line]:
    """Statistics over seeds of :func:`values_by_seed`.

    The ratio of a cost is the geometric mean, over the seeds that both methods have, of the value
    divided by the baseline's value with the same seed.

    Args:
        rows: tidy rows of any number of runs.
        columns: what to summarise.
        baseline: the label of the method that ratios refer to; None for no ratios.

    Raises:
        UserError: two different runs have the same label and seed.
    """
    methods = _by_method(rows)
    networks = _collect(methods, columns)
    bases = _baselines(networks, baseline)
    nothing = Found({}, {})
    lines = []
    for network, found in networks.items():
        runs = methods[network[:4]]
        base = bases.get(network.setting, {})
        other = base.get(network.variant) or base.get("full") or next(iter(base.values()), nothing)
        own = {row.metric for run in runs.values() for row in run if row.variant == network.variant}
        cells = {
            column.key: _cell(
                found,
                other if column.is_cost else nothing,
                column.key,
                bool(network.variant) and column.metric not in own,
            )
            for column in columns
        }
        for column in columns:
            notes = _notes(runs, network.variant, column)
            cells[column.key] = replace(cells[column.key], notes=notes)
        seeds = sorted(seed for seed, run in runs.items() if not _failed(run))
        lines.append(Line(network, tuple(seeds), cells))
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


def seeds_named(seeds: Iterable[int]) -> str:
    """``seed 0`` or ``seeds 0, 2``."""
    listed = sorted(seeds)
    return f"seed{'s' * (len(listed) > 1)} {', '.join(map(str, listed))}"


def _failed(rows: Iterable[Row]) -> bool:
    return any(row.status == FAILED for row in rows)


_Runs = dict[int, list[Row]]
_Methods = dict[tuple[str, str, str, str], _Runs]
"""Task, data set, architecture, method -> seed -> rows."""


def _by_method(rows: Iterable[Row]) -> _Methods:
    methods: _Methods = {}
    for row in rows:
        runs = methods.setdefault((row.task, row.dataset, row.arch, row.method), {})
        of_seed = runs.setdefault(row.seed, [])
        if of_seed and of_seed[0].run_id != row.run_id:
            raise UserError(
                f"two runs are called {row.method} with seed {row.seed} ({of_seed[0].run_id}, "
                f"{row.run_id}): give one of the methods a 'label' in the suite"
            )
        of_seed.append(row)
    return methods


def _collect(methods: _Methods, columns: Sequence[Column]) -> dict[Network, Found]:
    networks: dict[Network, Found] = {}
    wanted = [(column.key, column.metric, column.phase, column.adds_up) for column in columns]
    for method, runs in methods.items():
        names = {row.variant: None for run in runs.values() for row in run if row.variant} or [""]
        found = [Found({c.key: {} for c in columns}, {c.key: {} for c in columns}) for _ in names]
        for seed, run in runs.items():
            by_metric: dict[str, list[Row]] = {}
            for row in run:
                by_metric.setdefault(row.metric, []).append(row)
            failed = _failed(run)
            for variant, of_variant in zip(names, found, strict=True):
                for key, metric, phase, adds_up in wanted:
                    if failed:
                        of_variant.values[key][seed] = RUN_FAILED
                        continue
                    rows = _rows_of(by_metric.get(metric, ()), phase, variant)
                    of_variant.values[key][seed] = _value(rows, adds_up)
                    busy = next((busy_note(row.reason) for row in rows if is_busy(row)), "")
                    if busy:
                        of_variant.busy[key][seed] = busy
        for variant, of_variant in zip(names, found, strict=True):
            networks[Network(*method, variant)] = of_variant
    return networks


def _rows_of(rows: Sequence[Row], phase: str, variant: str) -> list[Row]:
    """Of a metric's rows in one run, those of a network in a phase, or in all that train."""
    own = [row for row in rows if row.variant == variant]
    rows = own or [row for row in rows if not row.variant]
    if phase == TRAINING:
        return [row for row in rows if row.phase not in OUTSIDE_TRAINING]
    return [row for row in rows if row.phase == phase]


def _value(rows: Sequence[Row], adds_up: bool) -> float | str:
    """The quantity of these rows, or the reason why there is none."""
    missing = [row.reason for row in rows if row.value is None]
    if missing:
        return missing[0] or NOT_MEASURED
    found = [row.value for row in rows if row.value is not None]
    if not found:
        return NOT_MEASURED
    return math.fsum(found) if adds_up else max(found)


def _notes(runs: _Runs, variant: str, column: Column) -> tuple[str, ...]:
    """The notes of a network's values that must not be left out, each once."""
    whole: dict[str, None] = {}
    remarks: dict[str, list[int]] = {}
    for seed, run in sorted(runs.items()):
        for row in run:
            if row.variant != variant or row.value is None or not row.reason:
                continue
            if (row.metric, row.phase) != (column.metric, column.phase):
                continue
            if column.metric in NOTED:
                whole[row.reason] = None
            for part in row.reason.split("; "):
                if part.startswith(REMARK):
                    remarks.setdefault(part.removeprefix(REMARK), []).append(seed)
    notes = [_of_seeds(text, seeds, len(runs)) for text, seeds in remarks.items()]
    return (*whole, *notes)


def _of_seeds(text: str, seeds: Sequence[int], of: int) -> str:
    """A remark with the seeds that it is about, unless it is about all."""
    if len(seeds) == of:
        return text
    return f"{text} (seed {', '.join(map(str, seeds))})"


def _baselines(
    networks: Mapping[Network, Found], baseline: str | None
) -> dict[tuple[str, str, str], dict[str, Found]]:
    """The baseline's variants by setting; a network is compared with the one of its name."""
    found: dict[tuple[str, str, str], dict[str, Found]] = {}
    for network, of_network in networks.items():
        if network.method == baseline:
            found.setdefault(network.setting, {})[network.variant] = of_network
    return found


def _cell(found: Found, other: Found, key: str, of_run: bool) -> Cell:
    values, base = found.values[key], other.values.get(key, {})
    numbers = {seed: v for seed, v in values.items() if isinstance(v, float | int)}
    reasons = tuple(dict.fromkeys(v for v in values.values() if isinstance(v, str)))
    if not numbers:
        return Cell(reasons=reasons, values=values, of_run=of_run)
    ratios = {
        seed: numbers[seed] / other
        for seed, other in base.items()
        if seed in numbers and isinstance(other, float | int) and other > 0
    }
    positive = bool(ratios) and min(ratios.values()) > 0
    sample = describe(numbers.values())
    busy = {seed: note for seed, note in found.busy[key].items() if seed in numbers}
    return Cell(
        mean=sample.mean,
        sd=sample.std,
        n=sample.n,
        ratio=geometric_mean(ratios.values()) if positive else None,
        reasons=reasons,
        values=values,
        of_run=of_run,
        busy=busy,
        base_busy=tuple(seed for seed in other.busy.get(key, {}) if positive and seed in ratios),
    )
