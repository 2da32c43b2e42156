"""A results directory on disk: one folder a run, written so that a kill never spoils it.

::

    DIR/plan.json            the suite and its runs, in order
    DIR/rows.csv             the rows of all finished and failed runs of the plan
    DIR/runs/RUN_ID/         manifest.json, rows.csv and whatever else the run leaves
    DIR/runs/RUN_ID.damaged-1/   a run whose files were cut or changed, kept for a look
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.files import disk_errors, read_json, write_json_atomic, write_text_atomic
from benchmarks.records import FAILED, Row
from benchmarks.rows import format_rows, parse_rows
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

FINISHED = "finished"
RUNNING = "running"
ABSENT = "absent"
DAMAGED = "damaged"
STATES = (ABSENT, RUNNING, FAILED, FINISHED, DAMAGED)


@dataclass(frozen=True)
class PlannedRun:
    """A line of ``plan.json``."""

    run_id: str
    label: str
    seed: int
    baseline: bool = False
    """Whether the run is one of the suite's baseline method."""


@dataclass(frozen=True)
class Plan:
    """What a results directory is for."""

    suite: str
    profile: str
    title: str
    budget: Mapping[str, float]
    runs: tuple[PlannedRun, ...]


class Store:
    """The results directory of one suite.

    Args:
        path: the directory; made when something is first written.

    Raises:
        UserError: ``path`` is a file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
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
        with disk_errors(self.path / ".lock"):
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise UserError(
                        f"the file system of {self.path} has no locks ({error.strerror}): "
                        "choose a local folder with --results"
                    ) from error
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                raise UserError(
                    f"{self.path} is in use by another depthbench (process {holder or 'unknown'}): "
                    "wait for it, or choose another folder with --results"
                ) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
            yield
        finally:
            os.close(descriptor)

    def run_dir(self, run_id: str) -> Path:
        """Where a run keeps its files."""
        return self.path / "runs" / run_id

    def manifest(self, run_id: str) -> dict[str, Any] | None:
        """The run's manifest; None when there is none.

        Raises:
            UserError: it cannot be read.
        """
        return read_manifest(self.run_dir(run_id))

    def state(self, run_id: str) -> str:
        """One of ``STATES``; ``damaged`` when files are not what the run wrote."""
        folder = self.run_dir(run_id)
        if not folder.exists():
            return ABSENT
        try:
            manifest = read_manifest(folder)
            if manifest is None:
                return RUNNING
            if manifest.get("status") in (FINISHED, FAILED):
                read_rows(folder / "rows.csv", manifest["rows_sha256"])
            return str(manifest["status"]) if manifest["status"] in STATES else DAMAGED
        except (UserError, KeyError):
            return DAMAGED

    def is_finished(self, run_id: str) -> bool:
        """Whether the run need not be run again."""
        return self.state(run_id) == FINISHED

    def finished_runs(self) -> frozenset[str]:
        """Ids of all runs here that need not be run again, of whatever plan."""
        folders = (self.path / "runs").glob("*")
        return frozenset(folder.name for folder in folders if self.is_finished(folder.name))

    def open_run(self, run_id: str) -> Path:
        """The folder for a run that is about to start or to go on.

        A damaged one is renamed to ``RUN_ID.damaged-N`` first, never deleted.
        """
        folder = self.run_dir(run_id)
        with disk_errors(folder):
            if self.state(run_id) == DAMAGED:
                number = 1
                while (aside := folder.with_name(f"{run_id}.damaged-{number}")).exists():
                    number += 1
                folder.rename(aside)
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write_plan(self, plan: Plan) -> None:
        """Record what the directory is for.

        Raises:
            UserError: it already belongs to another suite.
        """
        earlier = self.plan()
        if earlier is not None and earlier.suite != plan.suite:
            raise UserError(
                f"{self.path} holds the results of the suite '{earlier.suite}', not of "
                f"'{plan.suite}': choose another folder with --results"
            )
        write_json_atomic(self.path / "plan.json", asdict(plan))

    def plan(self) -> Plan | None:
        """The recorded plan; None for a directory without one.

        Raises:
            UserError: ``plan.json`` cannot be read.
        """
        file = self.path / "plan.json"
        values = read_json(file)
        if values is None:
            return None
        try:
            runs = tuple(PlannedRun(**run) for run in values.pop("runs"))
            return Plan(**values, runs=runs)
        except (TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{file} is not a plan of depthbench: remove it and run again"
            ) from error

    def collect(self, runs: Iterable[PlannedRun | str]) -> list[Row]:
        """The rows of those runs that finished or failed, in the order given.

        Rows bear the label of the plan: a label is no part of a run, and may have changed since.
        """
        rows: list[Row] = []
        for run in runs:
            run_id = run if isinstance(run, str) else run.run_id
            if self.state(run_id) not in (FINISHED, FAILED):
                continue
            found = read_rows(self.run_dir(run_id) / "rows.csv")
            label = "" if isinstance(run, str) else run.label
            rows += [replace(row, method=label) for row in found] if label else found
        return rows

    def write_collected(self, runs: Iterable[PlannedRun | str]) -> list[Row]:
        """Write ``DIR/rows.csv`` from :meth:`collect` and return its rows."""
        rows = self.collect(runs)
        write_rows(self.rows_path, rows)
        return rows


def write_finished_run(folder: Path, rows: Iterable[Row], manifest: Mapping[str, Any]) -> None:
    """End a run well: its rows, then the manifest that vouches for them.

    ``status`` and ``rows_sha256`` are added to the manifest.
    """
    _end_run(folder, rows, manifest, FINISHED)


def write_failed_run(folder: Path, rows: Iterable[Row], manifest: Mapping[str, Any]) -> None:
    """End a run that failed; ``rows`` hold why. It is run again next time."""
    _end_run(folder, rows, manifest, FAILED)


def _end_run(folder: Path, rows: Iterable[Row], manifest: Mapping[str, Any], status: str) -> None:
    digest = write_rows(folder / "rows.csv", rows)
    write_json_atomic(
        folder / "manifest.json", {**manifest, "status": status, "rows_sha256": digest}
    )


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """``manifest.json`` of a run folder; None when there is none.

    Raises:
        UserError: it cannot be read.
    """
    return read_json(folder / "manifest.json")


def write_rows(path: Path, rows: Iterable[Row]) -> str:
    """Write rows and return the SHA-256 of the file."""
    text = format_rows(rows)
    write_text_atomic(path, text)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def read_rows(
    path: Path,
    sha256: str | None = None,
    keep: Callable[[Sequence[str]], bool] | None = None,
) -> list[Row]:
    """Read a ``rows.csv``, all of it or nothing.

    Args:
        path: the file.
        sha256: what :func:`write_rows` returned, where it is known: without it a file that was
            cut exactly between two rows passes for a shorter one.
        keep: which lines are wanted, see :func:`benchmarks.rows.parse_rows`.

    Raises:
        UserError: the file is absent, cut short, changed or not of depthbench; names the line.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    rows = parse_rows(content, str(path), keep)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} is not the file that the run wrote: run it again")
    return rows
