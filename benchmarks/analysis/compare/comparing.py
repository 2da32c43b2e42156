"""Folders of results -> comparisons with a baseline, ranks, and what the reader must know."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.analysis.columns import Column
from benchmarks.analysis.compare.baseline import Baseline, find_baseline
from benchmarks.analysis.compare.conditions import Placed
from benchmarks.analysis.compare.pairs import Comparison, compare
from benchmarks.analysis.compare.reading import columns_of, read, unmeasured
from benchmarks.analysis.compare.sizes import parse_sizes
from benchmarks.analysis.compare.tasks import Overview, Setting, over_tasks
from benchmarks.analysis.compare.verdicts import is_exact
from benchmarks.analysis.garbage import no_collection
from benchmarks.analysis.outside import outside_budget
from benchmarks.analysis.summary import Line, failures, summarise
from tasks.errors import UserError


@dataclass(frozen=True)
class Compared:
    """All that ``depthbench compare`` tells.

    Attributes:
        baseline: what was compared with.
        comparisons: setting by setting, metric by metric.
        overviews: ranks over several settings.
        runs: that were compared, by setting.
        failed: runs that failed: (method, reason) to seeds.
        notes: sentences on what differs though it was allowed, and on what is missing.
        unranked: columns that were measured on a busy machine, and are not in the overviews.
        unmeasured: columns without a value, and why.
    """

    baseline: Baseline
    comparisons: Sequence[Comparison]
    overviews: Sequence[Overview]
    runs: dict[Setting, list[Placed]]
    failed: Mapping[tuple[str, str], Sequence[int]]
    notes: Sequence[str]
    unranked: Sequence[Column]
    unmeasured: Mapping[Column, str]


def compare_results(
    paths: Sequence[Path],
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    tolerances: Sequence[str] = (),
    allowed: Collection[str] = (),
) -> Compared:
    """Compare every network in the folders with a baseline.

    Args:
        paths: what ``depthbench run`` has written.
        metrics: what to compare, as ``top1`` or ``top1:val``; the usual metrics by default.
        baseline: ``METHOD`` or ``METHOD:VARIANT``; by default that of the suite.
        tolerances: differences that do not count, as ``top1=0.5`` or ``train_time=5%``.
        allowed: conditions that runs may differ in, see ``conditions.MIXABLE``.

    Raises:
        UserError: results cannot be read, or not be compared; an unknown name; or no comparison
            that needs an interval can have one.
    """
    with no_collection():
        found = read(paths, metrics, allowed)
        columns = columns_of(found, metrics)
        lines = summarise(found.rows, columns)
        against = find_baseline(baseline, [placed.run for placed in found.runs], lines)
        absent = unmeasured(lines, columns)
        columns = [column for column in columns if column not in absent]
        sizes = parse_sizes(tolerances, columns, "--tolerance")
        comparisons = compare(lines, columns, against, sizes, "busy" in allowed)
        require_interval(comparisons, str(against))
        runs: dict[Setting, list[Placed]] = {}
        for placed in found.runs:
            runs.setdefault(placed.run.setting, []).append(placed)
        compared = {each.network.setting for each in comparisons}
        alone = [
            f"{', '.join(filter(None, setting[1:]))} has nothing to compare with {against}"
            for setting in runs
            if setting not in compared
        ]
        busy = [] if "busy" in allowed else _measured_busy(lines, columns)
        return Compared(
            baseline=against,
            comparisons=comparisons,
            overviews=over_tasks(lines, [column for column in columns if column not in busy]),
            runs=runs,
            failed=failures(found.rows),
            notes=[*found.notes, *outside_budget(found.rows), *alone],
            unranked=busy if len(compared) > 1 else [],
            unmeasured=absent,
        )


def _measured_busy(lines: Sequence[Line], columns: Sequence[Column]) -> list[Column]:
    """Columns of which some value was measured while others held the cores."""
    return [column for column in columns if any(line.cells[column.key].busy for line in lines)]


def require_interval(comparisons: Sequence[Comparison], baseline: str) -> None:
    """Refuse a comparison that could show no interval at all.

    Raises:
        UserError: there is nothing to compare, or nothing but single seeds, counts apart.
    """
    if not comparisons:
        raise UserError(
            f"there is nothing to compare with {baseline}: name another method with --baseline, or "
            "run more methods"
        )
    noisy = [each for each in comparisons if not is_exact(each.column)]
    if noisy and max(len(each.seeds) for each in noisy) < 2:
        raise UserError(
            f"no method has two seeds in common with {baseline}, so there is no interval: run more "
            "seeds, or compare counts alone with --metric params_inference"
        )
