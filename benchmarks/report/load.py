"""Results folders -> runs with their rows, checked: what reports and comparisons read.

Nothing here imports torch, and a folder is read once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.budget import Budget
from benchmarks.records import COLUMNS, FAILED, Row, declare_metric
from benchmarks.store import FINISHED, Plan, Store, read_rows
from tasks.errors import UserError

_RUN, _METHOD, _METRIC, _UNIT, _STATUS = map(
    COLUMNS.index, ("run_id", "method", "metric", "unit", "status")
)


@dataclass(frozen=True)
class Run:
    """One run that finished or failed: where it lies and what it measured.

    Attributes:
        folder: ``RESULTS/runs/RUN_ID``; it need not be there, rows alone may have been published.
        rows: at least one.
        baseline: whether the plan calls it a run of the baseline.
        manifest: None where there is none.
    """

    run_id: str
    folder: Path
    rows: tuple[Row, ...]
    baseline: bool
    manifest: Mapping[str, Any] | None

    @property
    def method(self) -> str:
        """What the plan calls the method."""
        return self.rows[0].method

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.rows[0].seed

    @property
    def setting(self) -> tuple[str, str, str]:
        """Task, data set, architecture."""
        return self.rows[0].task, self.rows[0].dataset, self.rows[0].arch

    @property
    def failed(self) -> bool:
        """Whether it failed: then its row says why, and has no value."""
        return any(row.status == FAILED for row in self.rows)

    @property
    def device(self) -> str:
        """What it was measured on; empty where that is not known."""
        device = (self.manifest or {}).get("device")
        name = device.get("name") if isinstance(device, dict) else device
        return str(name or "")


@dataclass(frozen=True)
class Results:
    """The runs of one suite under one budget on the same devices, from one folder or several.

    Attributes:
        name: tells it from the others that were loaded with it.
        paths: the folders.
        plan: None where a folder has none.
        runs: in the order of the rows.
        unfinished: how many runs the plan has that neither finished nor failed so far.
    """

    name: str
    paths: tuple[Path, ...]
    plan: Plan | None
    runs: tuple[Run, ...]
    unfinished: int = 0

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of all runs."""
        return [row for run in self.runs for row in run.rows]

    @property
    def suite(self) -> str:
        """The suite's name."""
        return self.plan.suite if self.plan else ", ".join(_distinct(r.suite for r in self.rows))

    @property
    def profile(self) -> str:
        """``paper``, ``short`` or ``smoke``; empty where it is not known."""
        return self.plan.profile if self.plan else ""

    @property
    def budget(self) -> str:
        """``4 epochs``; empty where it is not known."""
        return str(Budget.parse(self.plan.budget)) if self.plan else ""

    @property
    def baseline(self) -> str | None:
        """The method that ratios refer to; None where no run of it is known."""
        return next((run.method for run in self.runs if run.baseline), None)

    @property
    def devices(self) -> list[str]:
        """What the runs were measured on, each once."""
        return _distinct(run.device for run in self.runs if run.device)


def load(paths: Sequence[Path | str]) -> list[Results]:
    """Read results folders and bring those together that may share a table.

    Folders share one if suite, profile, budget and devices are the same and no method was run twice
    with one seed: then their runs are pooled, so that seeds may come from several folders. Two
    copies of a run count once.

    Args:
        paths: folders that ``depthbench run`` has written to.

    Raises:
        UserError: a folder has no results, its files are damaged or cut short, its rows are not
            those of its runs, or a run differs between two folders.
    """
    folders = [read_folder(path) for path in _once(paths)]
    _check_copies(folders)
    pools: list[Results] = []
    for folder in folders:
        for i, pool in enumerate(pools):
            pooled = _pooled(pool, folder)
            if pooled is not None:
                pools[i] = pooled
                break
        else:
            pools.append(folder)
    return _named(pools)


def read_folder(path: Path | str, metrics: Collection[str] | None = None) -> Results:
    """The results of one folder.

    Args:
        path: what ``depthbench run`` has written to.
        metrics: those that are wanted; all by default. Each run keeps its first row in any case,
            and a failed one the row that says why.

    Raises:
        UserError: as :func:`load`.
    """
    store = Store(path)
    if not store.rows_path.exists():
        raise UserError(
            f"there is no {store.rows_path}: name a folder that 'depthbench run' has written to"
        )
    # Two methods of a suite may be one run under two labels: then its rows are there twice.
    rows: dict[tuple[str, str], list[Row]] = {}
    units: dict[str, str] = {}

    def wanted(cells: Sequence[str]) -> bool:
        units.setdefault(cells[_METRIC], cells[_UNIT])
        run = cells[_RUN], cells[_METHOD]
        if run not in rows:
            rows[run] = []
            return True
        return metrics is None or cells[_METRIC] in metrics or cells[_STATUS] == FAILED

    for row in read_rows(store.rows_path, keep=wanted):
        rows[row.run_id, row.method].append(row)
    for metric, unit in units.items():
        declare_metric(metric, unit)
    plan = store.plan()
    planned = [run.run_id for run in plan.runs] if plan else []
    baselines = {(run.run_id, run.label) for run in plan.runs if run.baseline} if plan else set()
    present = dict.fromkeys(run_id for run_id, _ in rows)
    manifests = {run_id: store.manifest(run_id) for run_id in {**dict.fromkeys(planned), **present}}
    if plan is not None:
        _check_plan(store, present, planned, manifests)
    if rows:
        (run_id, _), last = list(rows.items())[-1]
        _check_last(store, run_id, last, manifests[run_id], metrics)
    runs = tuple(
        Run(
            run_id=run_id,
            folder=store.run_dir(run_id),
            rows=tuple(found),
            baseline=(run_id, method) in baselines,
            manifest=manifests[run_id],
        )
        for (run_id, method), found in rows.items()
    )
    unfinished = len(set(planned) - set(present))
    return Results(str(path), (store.path,), plan, runs, unfinished)


def _check_plan(
    store: Store, rows: Iterable[str], planned: Iterable[str], manifests: Mapping[str, Any]
) -> None:
    """What ``rows.csv`` holds must be what the plan's finished and failed runs have measured."""
    present, known = set(rows), set(planned)
    again = "give the command 'depthbench run' once more, which writes it anew"
    for run_id in sorted(present - known):
        raise UserError(
            f"{store.rows_path} holds rows of the run {run_id}, which {store.path / 'plan.json'} "
            f"does not name: {again}"
        )
    for run_id in planned:
        status = (manifests[run_id] or {}).get("status")
        if run_id not in present and status in (FINISHED, FAILED):
            raise UserError(f"{store.rows_path} lacks the rows of the run {run_id}: {again}")


def _check_last(
    store: Store,
    run_id: str,
    rows: Sequence[Row],
    manifest: Mapping[str, Any] | None,
    metrics: Collection[str] | None,
) -> None:
    """A file that was cut exactly between two rows lacks some of its last run's."""
    file = store.run_dir(run_id) / "rows.csv"
    if manifest is None or "rows_sha256" not in manifest or not file.exists():
        return
    own = read_rows(file, manifest["rows_sha256"])
    if metrics is not None:
        own = [row for row in own if row.metric in metrics]
        rows = [row for row in rows if row.metric in metrics]
    if _unnamed(own) != _unnamed(rows):
        raise UserError(
            f"{store.rows_path} has other rows of the run {run_id} than {file}: give the command "
            "'depthbench run' once more, which writes it anew"
        )


def _check_copies(folders: Sequence[Results]) -> None:
    seen: dict[str, Run] = {}
    for run in (run for folder in folders for run in folder.runs):
        other = seen.setdefault(run.run_id, run)
        if other is not run and _unnamed(other.rows) != _unnamed(run.rows):
            raise UserError(
                f"the run {run.run_id} has other rows in {other.folder.parents[1]} than in "
                f"{run.folder.parents[1]}: one of them was changed, leave it out"
            )


def _unnamed(rows: Iterable[Row]) -> list[Row]:
    """Rows without what names them: suite and label are no part of a run."""
    return [replace(row, suite="", method="") for row in rows]


def _pooled(pool: Results, folder: Results) -> Results | None:
    """Both as one; None where they may not share a table."""
    for told in ("suite", "profile", "budget"):
        if getattr(pool, told) != getattr(folder, told):
            return None
    if sorted(pool.devices) != sorted(folder.devices):
        return None
    seeds = {(*run.setting, run.method, run.seed): run.run_id for run in pool.runs}
    new = []
    for run in folder.runs:
        known = seeds.get((*run.setting, run.method, run.seed))
        if known is None:
            new.append(run)
        elif known != run.run_id:
            return None
    return replace(
        pool,
        paths=pool.paths + folder.paths,
        runs=pool.runs + tuple(new),
        unfinished=pool.unfinished + folder.unfinished,
    )


def _named(found: Sequence[Results]) -> list[Results]:
    """The shortest names that tell them apart: suites, suites on devices, folders."""
    for names in (
        [results.suite for results in found],
        [f"{results.suite} on {', '.join(results.devices)}" for results in found],
        [f"{results.suite} in {results.paths[0]}" for results in found],
    ):
        if len(set(names)) == len(names):
            break
    return [replace(results, name=name) for results, name in zip(found, names, strict=True)]


def _once(paths: Iterable[Path | str]) -> Iterator[Path | str]:
    return iter({Path(path).resolve(): path for path in paths}.values())


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
