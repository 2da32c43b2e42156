"""Runs and results, as reports and comparisons see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.budget import Budget
from benchmarks.records.identity.staleness import stale
from benchmarks.records.plan import Plan
from benchmarks.records.row import FAILED, Row
from benchmarks.records.verification import UNVERIFIED


@dataclass(frozen=True)
class Run:
    """One run that finished or failed: where it lies and what it measured.

    Attributes:
        folder: ``RESULTS/runs/RUN_ID``; it need not be there, rows alone may have been published.
        rows: at least one.
        baseline: whether the plan calls it a run of the baseline.
        manifest: None where there is none.
        verified: whether all records were compared with the digest of the run; see
            :mod:`benchmarks.records.verification`.
    """

    run_id: str
    folder: Path
    rows: tuple[Row, ...]
    baseline: bool
    manifest: Mapping[str, Any] | None
    verified: bool = True

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
        return str((self.manifest or {}).get("device", {}).get("name") or "")

    @cached_property
    def stale(self) -> str:
        """Why the code would not give the run its id any more; empty where it would."""
        return stale(self.manifest or {})


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
        return str(Budget.parse(self.plan.budget)) if self.plan and self.plan.budget else ""

    @property
    def baseline(self) -> str | None:
        """The method that ratios refer to; None where no run of it is known."""
        return next((run.method for run in self.runs if run.baseline), None)

    @property
    def devices(self) -> list[str]:
        """What the runs were measured on, each once."""
        return _distinct(run.device for run in self.runs if run.device)

    @cached_property
    def marks(self) -> list[str]:
        """What must be said beside any number of these runs: unverified, stale."""
        return marks(self.runs)


def marks(runs: Sequence[Run]) -> list[str]:
    """Sentences without an end: which runs are unverified, and which are stale, and why."""
    found = []
    unverified = [run for run in runs if not run.verified]
    if unverified:
        why = UNVERIFIED
        if all(run.manifest is None for run in unverified):
            why = "rows without the records of their runs"
        found.append(f"unverified{_share(unverified, runs)}: {why}")
    outdated = [run for run in runs if run.stale]
    if outdated:
        reasons = "; ".join(_distinct(run.stale for run in outdated))
        found.append(f"stale{_share(outdated, runs)}: {reasons}")
    return found


def _share(some: Sequence[Run], runs: Sequence[Run]) -> str:
    return "" if len(some) == len(runs) else f" ({len(some)} of {len(runs)} runs)"


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
