"""A results directory on disk: one folder a run, written so that it is crash-safe.

::

    DIR/plan.json            the suite and its runs, in order, with a digest of its own content
    DIR/rows.csv             an index: the rows of all finished and failed runs of the plan
    DIR/runs/RUN_ID/         manifest.json, rows.csv, curve.csv, digest.json over these,
                             and whatever else the run leaves
    DIR/runs/RUN_ID.damaged-1/   a run whose files were cut or changed, kept for a look
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.records.files import (
    disk_errors,
    read_bytes,
    remove_temporaries,
    write_json_atomic,
    write_text_atomic,
)
from benchmarks.records.index import Entry, first_cell, index_of, lines_of
from benchmarks.records.locking import hold
from benchmarks.records.plan import (
    PLAN,
    REPRODUCTION,
    Plan,
    PlannedRun,
    parse_plan,
    read_plan,
    write_plan,
)
from benchmarks.records.progress import PROGRESS
from benchmarks.records.row import FAILED, Row
from benchmarks.records.rows import parse_rows
from benchmarks.records.verification import (
    DIGEST,
    FINISHED,
    MANIFEST,
    RECORDS,
    ROWS,
    RUNNING,
    DamagedError,
    Record,
    UnsealedError,
    read_manifest,
    read_record,
    require_own,
    write_failed_run,
    write_finished_run,
    write_rows,
)
from tasks.errors import UserError

__all__ = [
    "FINISHED",
    "RUNNING",
    "STATES",
    "Plan",
    "PlannedRun",
    "Store",
    "read_manifest",
    "read_rows",
    "write_failed_run",
    "write_finished_run",
    "write_json_atomic",
    "write_rows",
    "write_text_atomic",
]

ABSENT = "absent"
DAMAGED = "damaged"
STATES = (ABSENT, RUNNING, FAILED, FINISHED, DAMAGED)

_TABLES = ("table.md", "table.csv", "table.tex", *REPRODUCTION)
"""What is written of the rows."""


class Store:
    """The results directory of one suite.

    Args:
        path: the directory; made when something is first written.

    Raises:
        UserError: ``path`` is a file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._records: dict[str, tuple[object, Record | None]] = {}
        self._folder: tuple[int, int] | None = None
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{path} is a file: name a folder for the results")

    @property
    def rows_path(self) -> Path:
        """``DIR/rows.csv``."""
        return self.path / "rows.csv"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for this process; the lock goes with the process, however it ends.

        Raises:
            UserError: another process holds it, or the directory cannot be written.
        """
        with hold(self.path):
            self._remove_temporaries()
            yield

    def watch(self) -> None:
        """Remember which folder this is, for :meth:`require_present`."""
        self._folder = _folder_at(self.path)

    def require_present(self) -> None:
        """Raise ``UserError`` if the folder is no longer the one that was remembered."""
        if self._folder is not None and _folder_at(self.path) != self._folder:
            raise UserError(
                f"the results folder {self.path} was removed, renamed or replaced while this "
                "command wrote to it: put it back, and give the same command again"
            )

    def run_dir(self, run_id: str) -> Path:
        """Where a run keeps its files."""
        return self.path / "runs" / run_id

    def record(self, run_id: str) -> Record | None:
        """The verified records of a run; None where it has not ended.

        Raises:
            DamagedError: a file is missing or not what the run wrote, or the folder is another
                run's; names it.
            NewerSchemaError: they are of a schema that this version does not know.
        """
        try:
            record = read_record(self.run_dir(run_id))
        except UnsealedError:
            self._require_own_manifest(run_id)
            raise
        if record is None:
            self._require_own_manifest(run_id)
        else:
            _require_own(record, run_id)
        return record

    def kept_record(self, run_id: str) -> Record | None:
        """:meth:`record`, read again only where size or time of a file has changed."""
        stamp = _stamp(self.run_dir(run_id))
        if run_id not in self._records or self._records[run_id][0] != stamp:
            self._records[run_id] = stamp, self.record(run_id)
        return self._records[run_id][1]

    def manifest(self, run_id: str) -> dict[str, Any] | None:
        """The run's manifest, whether it has ended or not; None when there is none.

        Raises:
            UserError: it cannot be read.
        """
        return read_manifest(self.run_dir(run_id))

    def state(self, run_id: str) -> str:
        """One of ``STATES``; ``damaged`` when files are not what the run wrote.

        Raises:
            UserError: a file cannot be read, or a newer depthbench has written it.
        """
        if not self.run_dir(run_id).exists():
            return ABSENT
        try:
            record = self.kept_record(run_id)
        except UnsealedError:  # killed before its last file: what is left to do is done again
            return RUNNING
        except DamagedError:
            return DAMAGED
        return RUNNING if record is None else record.status

    def is_finished(self, run_id: str) -> bool:
        """Whether the run need not be run again."""
        return self.state(run_id) == FINISHED

    def finished_runs(self) -> frozenset[str]:
        """Ids of all runs here that need not be run again, of whatever plan."""
        folders = (self.path / "runs").glob("*")
        return frozenset(folder.name for folder in folders if self.is_finished(folder.name))

    def open_run(self, run_id: str) -> Path:
        """The folder for a run that is about to start or to go on.

        A damaged one is set aside first. One that had failed has not ended any more.
        """
        folder = self.run_dir(run_id)
        state = self.state(run_id)
        if state == DAMAGED:
            self.set_aside(run_id)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if state == FAILED:
                (folder / DIGEST).unlink(missing_ok=True)
                manifest = {**(read_manifest(folder) or {}), "status": RUNNING}
                manifest.pop("reason", None)
                write_json_atomic(folder / MANIFEST, manifest)
        return folder

    def set_aside(self, run_id: str) -> Path:
        """Rename a run's folder to ``RUN_ID.damaged-N``; it is never deleted."""
        folder = self.run_dir(run_id)
        number = 1
        while (aside := folder.with_name(f"{run_id}.damaged-{number}")).exists():
            number += 1
        with disk_errors(folder):
            folder.rename(aside)
        return aside

    def damage(self, run_id: str) -> str:
        """What is wrong with a damaged run, in a sentence that names the file; empty for others."""
        if self.state(run_id) != DAMAGED:
            return ""
        try:
            self.record(run_id)
        except DamagedError as error:
            return error.what
        return ""

    def require_suite(self, suite: str) -> None:
        """Refuse a directory that belongs to another suite.

        Raises:
            UserError: it does, or its plan cannot be read.
        """
        earlier, _ = parse_plan(self.path)
        if earlier is not None and earlier.suite != suite:
            raise UserError(
                f"{self.path} holds the results of the suite '{earlier.suite}', not of "
                f"'{suite}': choose another folder with --results"
            )

    def write_plan(self, plan: Plan) -> None:
        """Record what the directory is for.

        Raises:
            UserError: it already belongs to another suite.
        """
        self.require_suite(plan.suite)
        write_plan(self.path, plan)

    def plan(self) -> Plan | None:
        """The recorded plan; None for a directory without one.

        Raises:
            UserError: ``plan.json`` cannot be read or was changed.
        """
        return read_plan(self.path)

    def collect(self, runs: Iterable[PlannedRun | str]) -> list[Row]:
        """The rows of those runs that finished or failed, in the order given.

        Rows bear the label of the plan: a label is no part of a run, and may have changed since.
        """
        rows: list[Row] = []
        for run in runs:
            run_id, label = (run, "") if isinstance(run, str) else (run.run_id, run.label)
            record = self._ended(run_id)
            found = [] if record is None else record.rows()
            rows += [replace(row, method=label) for row in found] if label else found
        return rows

    def write_collected(self, runs: Sequence[PlannedRun]) -> list[Row]:
        """Write ``DIR/rows.csv``, the index of these runs, and return the rows in it."""
        lines: dict[Entry, bytes] = {}
        for run in runs:
            record = self._ended(run.run_id)
            if record is not None:
                lines[run.run_id, run.label] = lines_of(record, run.label)
        write_text_atomic(self.rows_path, index_of(lines))
        return self.collect(runs)

    def _require_own_manifest(self, run_id: str) -> None:
        """Refuse a run that has not ended, or not been sealed, in the folder of another."""
        manifest = read_manifest(self.run_dir(run_id))
        if manifest is not None:
            require_own(self.run_dir(run_id), manifest, run_id)

    def _ended(self, run_id: str) -> Record | None:
        """The record of a run that finished or failed, and is not damaged."""
        return self.kept_record(run_id) if self.state(run_id) in (FINISHED, FAILED) else None

    def _remove_temporaries(self) -> None:
        """What writes that were killed have left; the caller holds the lock."""
        remove_temporaries(self.path, (PLAN, ROWS, *_TABLES))
        for folder in (self.path / "runs").glob("*"):
            remove_temporaries(folder, (*RECORDS, DIGEST, PROGRESS))
            with contextlib.suppress(OSError):
                (folder / "checkpoints" / "latest.tmp").unlink()


def read_rows(path: Path) -> list[Row]:
    """Read a ``rows.csv`` as it is, unverified, all of it or nothing.

    Raises:
        UserError: the file is absent, cut short or not of depthbench; names the line.
    """
    content = read_bytes(path)
    if content is None:
        raise UserError(f"cannot read {path}: there is no such file")
    return parse_rows(content, str(path))


def _folder_at(path: Path) -> tuple[int, int] | None:
    """Device and inode of a folder; None where there is none."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _stamp(folder: Path) -> tuple[tuple[int, int, int] | None, ...]:
    """Inode, size and time of each record."""
    found: list[tuple[int, int, int] | None] = []
    for name in (*RECORDS, DIGEST):
        try:
            facts = os.stat(folder / name)
            found.append((facts.st_ino, facts.st_size, facts.st_mtime_ns))
        except OSError:
            found.append(None)
    return tuple(found)


def _require_own(record: Record, run_id: str) -> None:
    """Refuse a run in the folder of another."""
    require_own(record.folder, record.manifest, run_id)
    require_own(record.folder, {"run_id": first_cell(record, "run_id") or run_id}, run_id)
