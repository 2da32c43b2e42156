"""Results folders -> runs with their rows, checked: what reports and comparisons read.

Nothing here imports torch, and a folder is read once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.analysis.garbage import no_collection
from benchmarks.analysis.results import Results, Run
from benchmarks.records.files import read_bytes
from benchmarks.records.index import check_index, grouped, lines_of
from benchmarks.records.plan import PLAN, check_made
from benchmarks.records.row import COLUMNS, FAILED, Row, declare_metric, declare_stored
from benchmarks.records.rows import parse_rows
from benchmarks.records.store import Plan, PlannedRun, Store
from benchmarks.records.verification import REWRITE, ROWS, DamagedError
from tasks.errors import UserError

__all__ = ["Results", "Run", "load", "read_folder"]

_RUN, _METHOD, _METRIC, _UNIT, _STATUS = map(
    COLUMNS.index, ("run_id", "method", "metric", "unit", "status")
)


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
    """The results of one folder: the runs' own rows, verified.

    Args:
        path: what ``depthbench run`` has written to.
        metrics: those that are wanted; all by default. Each run keeps its first row in any case,
            and a failed one the row that says why.

    Raises:
        UserError: as :func:`load`.
    """
    with no_collection():
        return _read_folder(Store(path), metrics)


def _read_folder(store: Store, metrics: Collection[str] | None) -> Results:
    plan = store.plan()
    index = read_bytes(store.rows_path)
    if index is None:
        if plan is not None:
            raise DamagedError(f"{store.rows_path} is missing", REWRITE)
        raise UserError(
            f"there is no {store.rows_path}: name a folder that 'depthbench run' has written to"
        )
    wanted = _Wanted(metrics)
    old = plan is None or plan.schema == 1
    if old and not (store.path / "runs").is_dir():
        runs = _rows_alone(store, plan, parse_rows(index, str(store.rows_path), wanted))
    else:
        runs = _own_rows(store, plan, index, wanted)
    for metric, unit in wanted.units.items():
        declare_metric(metric, unit)
    present = {run.run_id for run in runs}
    unfinished = len({run.run_id for run in plan.runs} - present) if plan else 0
    return Results(str(store.path), (store.path,), plan, tuple(runs), unfinished)


class _Wanted:
    """Which lines of a file of rows are read, and the units of all metrics in it."""

    def __init__(self, metrics: Collection[str] | None) -> None:
        self.units: dict[str, str] = {}
        self._metrics = metrics
        self.begun: set[tuple[str, str]] = set()
        """The runs whose first row has been read."""

    def __call__(self, cells: Sequence[str]) -> bool:
        self.units.setdefault(cells[_METRIC], cells[_UNIT])
        run = cells[_RUN], cells[_METHOD]
        if run not in self.begun:
            self.begun.add(run)
            return True
        return self._metrics is None or cells[_METRIC] in self._metrics or cells[_STATUS] == FAILED


def _own_rows(store: Store, plan: Plan | None, index: bytes, wanted: _Wanted) -> list[Run]:
    """The runs with the rows of their own folders; the index must be made of them."""
    runs, lines = [], {}
    for planned in plan.runs if plan else _indexed(store, index):
        record = store.record(planned.run_id)
        if record is None:
            continue
        if plan is not None:
            check_made(store.path, plan, planned, record)
        elif record.verified:
            raise DamagedError(f"{store.path / PLAN} is missing", REWRITE)
        declare_stored(record.manifest)
        wanted.begun.clear()  # the run may be there under another label, too
        rows = record.rows(wanted)
        if not rows:
            raise DamagedError(f"{record.folder / ROWS} holds no rows")
        if planned.label not in ("", rows[0].method):
            rows = [replace(row, method=planned.label) for row in rows]
        lines[planned.run_id, planned.label] = lines_of(record, planned.label)
        runs.append(
            Run(
                run_id=planned.run_id,
                folder=record.folder,
                rows=tuple(rows),
                baseline=planned.baseline,
                manifest=record.manifest,
                verified=record.verified and plan is not None and plan.schema > 1,
            )
        )
    check_index(store.rows_path, index, lines, store.path / "runs")
    return runs


def _indexed(store: Store, index: bytes) -> list[PlannedRun]:
    """The runs of a folder without a plan: those of its index."""
    entries = grouped(parse_rows(index, str(store.rows_path)))
    return [PlannedRun(run_id, label, rows[0].seed) for (run_id, label), rows in entries.items()]


def _rows_alone(store: Store, plan: Plan | None, rows: Sequence[Row]) -> list[Run]:
    """The runs of a folder that has no more than rows, as they are."""
    marked = {(run.run_id, run.label) for run in plan.runs if run.baseline} if plan else set()
    return [
        Run(
            run_id=run_id,
            folder=store.run_dir(run_id),
            rows=tuple(found),
            baseline=(run_id, label) in marked,
            manifest=None,
            verified=False,
        )
        for (run_id, label), found in grouped(rows).items()
    ]


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
    for attribute in ("suite", "profile", "budget"):
        if getattr(pool, attribute) != getattr(folder, attribute):
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
