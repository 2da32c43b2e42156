"""Every network against the baseline, metric by metric, by the seeds that both have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.analysis.columns import Column
from benchmarks.analysis.compare.baseline import Baseline
from benchmarks.analysis.compare.sizes import Size
from benchmarks.analysis.compare.verdicts import (
    NO_PAIR,
    NOT_JUDGED,
    Verdict,
    judge_pairs,
    verdict_on,
)
from benchmarks.analysis.statistics.paired import PairedDifference, PairedRatio, paired_differences
from benchmarks.analysis.statistics.samples import Interval, describe
from benchmarks.analysis.summary import RUN_FAILED, Cell, Line, Network, seeds_named
from benchmarks.records.row import BUSY


@dataclass(frozen=True)
class Comparison:
    """One network against the baseline in one metric; values are in the metric's base unit.

    Attributes:
        network: with an empty variant for what belongs to a whole run, such as training time.
        baseline: what it is compared with.
        column: the metric and its phase.
        seeds: those that both have a value for.
        mean: over these seeds; None where there are none.
        baseline_mean: over the same seeds.
        difference: network minus baseline, seed by seed; without an interval for one seed.
        ratio: network over baseline, seed by seed, of costs; None of other metrics and where a
            value is not positive. Where there is a ratio, the verdict is on it.
        verdict: what the seeds show.
        reasons: why seeds are missing, if some are.
        busy: seeds that either was measured with while others held the cores.
    """

    network: Network
    baseline: Network
    column: Column
    seeds: tuple[int, ...]
    mean: float | None
    baseline_mean: float | None
    difference: PairedDifference | None
    ratio: PairedRatio | None
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    busy: tuple[int, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The comparison as a mapping that JSON can hold."""
        network, info = self.network, self.column.info
        return {
            **{name: getattr(network, name) for name in Network._fields},
            "baseline": self.baseline.method,
            "baseline_variant": self.baseline.variant,
            "metric": self.column.metric,
            "phase": self.column.phase,
            "unit": info.unit,
            "better": info.better,
            "n": len(self.seeds),
            "seeds": list(self.seeds),
            "busy": list(self.busy),
            "mean": self.mean,
            "baseline_mean": self.baseline_mean,
            "difference": _statistics(self.difference),
            "ratio": None if self.ratio is None else _ratio(self.ratio),
            "verdict": self.verdict.word,
            "p": self.verdict.p_value,
            "test": self.verdict.test,
            "more_seeds": self.verdict.more_seeds,
            "reason": "; ".join(filter(None, (self.verdict.reason, *self.reasons))),
        }


@dataclass(frozen=True)
class _Pair:
    """A network and the baseline in one metric, with the seeds that both have."""

    network: Network
    baseline: Network
    column: Column
    seeds: tuple[int, ...]
    a: Sequence[float]
    b: Sequence[float]
    reasons: tuple[str, ...]
    busy: tuple[int, ...]


def compare(
    lines: Sequence[Line],
    columns: Sequence[Column],
    baseline: Baseline,
    tolerances: Mapping[str, Size] | None = None,
    allow_busy: bool = False,
) -> list[Comparison]:
    """Compare every network with the baseline of its task, data set and architecture.

    Args:
        lines: what ``summarise`` made of all rows, with these columns.
        columns: what to compare.
        baseline: of :func:`find_baseline`; settings without it are left out.
        tolerances: differences that do not count, by metric.
        allow_busy: judge values that were measured while others held the cores, too.

    Returns:
        Setting by setting, and in each column by column, in the order of the lines.

    Raises:
        UserError: a tolerance in % of a metric that has no ratio.
    """
    settings: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        settings.setdefault(line.network.setting, []).append(line)
    pairs = [
        pair
        for of_setting in settings.values()
        for column in columns
        for pair in _pairs(of_setting, column, baseline)
    ]
    tested = _tested([(pair.a, pair.b, pair.column) for pair in pairs])
    return [
        _comparison(pair, *differences, (tolerances or {}).get(pair.column.metric), allow_busy)
        for pair, differences in zip(pairs, tested, strict=True)
    ]


Sample = tuple[Sequence[float], Sequence[float], Column]
"""Values of one network and of another, in the order of the seeds, and what they are of."""


def judge_samples(samples: Sequence[Sample]) -> list[Verdict]:
    """The verdict on the first values of each against the second."""
    return [
        Verdict(NO_PAIR) if difference is None else verdict_on(*sample, (logs or difference).effect)
        for sample, (difference, logs) in zip(samples, _tested(samples, None), strict=True)
    ]


def common_seeds(one: Cell, other: Cell) -> tuple[tuple[int, ...], list[float], list[float]]:
    """The seeds for which both have a value, and the values of either."""
    mine, theirs = _numbers(one), _numbers(other)
    seeds = tuple(sorted(mine.keys() & theirs.keys()))
    return seeds, [mine[seed] for seed in seeds], [theirs[seed] for seed in seeds]


def _pairs(lines: Sequence[Line], column: Column, baseline: Baseline) -> Iterable[_Pair]:
    bases = {line.variant: line for line in lines if line.method == baseline.method}
    if not bases:
        return
    seen = set()
    for line in lines:
        cell = line.cells[column.key]
        wanted = line.variant if baseline.variant is None else baseline.variant
        base = bases.get(wanted) or bases.get("full") or next(iter(bases.values()))
        other = base.cells[column.key]
        network, against = _named(line, cell), _named(base, other)
        # What a whole run has is on the line of each of its variants, and is compared once.
        if network == against or network in seen:
            continue
        seen.add(network)
        seeds, a, b = common_seeds(cell, other)
        yield _Pair(
            network,
            against,
            column,
            seeds,
            a,
            b,
            reasons=_reasons(cell, other, base.method, seeds),
            busy=tuple(seed for seed in seeds if seed in cell.busy or seed in other.busy),
        )


def _named(line: Line, cell: Cell) -> Network:
    """The network; without a variant for what belongs to a whole run."""
    return line.network._replace(variant="") if cell.of_run and line.variant else line.network


def _numbers(cell: Cell) -> dict[int, float]:
    return {seed: float(v) for seed, v in cell.values.items() if isinstance(v, float | int)}


def _reasons(mine: Cell, base: Cell, method: str, seeds: Sequence[int]) -> tuple[str, ...]:
    """Why seeds that one of the two was run with are not among the pairs."""
    if len(seeds) == len(mine.values) == len(base.values):
        return ()
    reasons: dict[str, list[int]] = {}
    for seed in sorted({*mine.values, *base.values} - set(seeds)):
        for cell, whose in ((mine, ""), (base, f"of {method}, ")):
            value = cell.values.get(seed, "not run")
            if isinstance(value, str):
                reason = "the run failed" if value == RUN_FAILED else value
                reasons.setdefault(whose + reason, []).append(seed)
    return tuple(f"{seeds_named(missing)}: {reason}" for reason, missing in reasons.items())


_Differences = list[PairedDifference | None]


def _tested(
    samples: Sequence[Sample], confidence: float | None = 0.95
) -> Iterable[tuple[PairedDifference | None, PairedDifference | None]]:
    """The paired difference of each, and that of the logarithms of positive costs."""
    logs: list[Sequence[Sequence[float]]] = [
        [[*map(math.log, a)], [*map(math.log, b)]]
        if column.is_cost and min(*a, *b, 1, 1) > 0
        else ((), ())
        for a, b, column in samples
    ]
    values = [(a, b) for a, b, _ in samples]
    return zip(_differences(values, confidence), _differences(logs, confidence), strict=True)


def _differences(
    samples: Sequence[Sequence[Sequence[float]]], confidence: float | None
) -> _Differences:
    """The paired difference of each; without an interval for one seed, None for no seed."""
    found: _Differences = [None] * len(samples)
    for level, sizes in ((confidence, range(2, 10**9)), (None, range(1, 2))):
        chosen = [i for i, (a, _) in enumerate(samples) if len(a) in sizes]
        tested = paired_differences(
            [samples[i][0] for i in chosen], [samples[i][1] for i in chosen], level
        )
        for i, difference in zip(chosen, tested, strict=True):
            found[i] = difference
    return found


def _comparison(
    pair: _Pair,
    difference: PairedDifference | None,
    logs: PairedDifference | None,
    tolerance: Size | None,
    allow_busy: bool,
) -> Comparison:
    verdict = Verdict(NO_PAIR)
    mean = baseline_mean = ratio = None
    if difference is not None:
        if pair.busy and not allow_busy:
            verdict = Verdict(NOT_JUDGED, reason=f"{_busy(pair)}: run again, or --allow busy")
        else:
            verdict = judge_pairs(pair.a, pair.b, pair.column, logs or difference, tolerance)
        mean, baseline_mean = describe(pair.a).mean, describe(pair.b).mean
    if logs is not None:
        ratio = PairedRatio(math.exp(logs.mean), logs)
    return Comparison(
        network=pair.network,
        baseline=pair.baseline,
        column=pair.column,
        seeds=pair.seeds,
        mean=mean,
        baseline_mean=baseline_mean,
        difference=difference,
        ratio=ratio,
        verdict=verdict,
        reasons=(*pair.reasons, *([_busy(pair)] if pair.busy and allow_busy else [])),
        busy=pair.busy,
    )


def _busy(pair: _Pair) -> str:
    return f"measured on a {BUSY} ({seeds_named(pair.busy)})"


def _statistics(difference: PairedDifference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    return {
        "mean": difference.mean,
        "sd": difference.std,
        "confidence": difference.confidence,
        "t_interval": _ends(difference.t_interval),
        "bootstrap_interval": _ends(difference.bootstrap_interval),
        "p_t": difference.p_value,
        "p_sign_flip": difference.p_sign_flip,
    }


def _ratio(ratio: PairedRatio) -> dict[str, Any]:
    return {
        "mean": ratio.mean,
        "confidence": ratio.logs.confidence,
        "t_interval": _ends(ratio.t_interval),
        "bootstrap_interval": _ends(ratio.bootstrap_interval),
        "p_t": ratio.logs.p_value,
        "p_sign_flip": ratio.logs.p_sign_flip,
    }


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
