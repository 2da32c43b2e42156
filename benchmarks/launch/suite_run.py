"""Drive the runs of a suite one after the other; what shows them is an :class:`Observer`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.launch import upkeep
from benchmarks.launch.half_done import begun_under_another_id, started_manifest, unfinished_runs
from benchmarks.launch.local import ForkServer, RunFailed
from benchmarks.records.row import FAILED, OK, Row, declare_stored, metric_info
from benchmarks.records.store import Plan, PlannedRun, Store, write_failed_run
from benchmarks.spec import MethodEntry, RunSpec, TaskEntry
from benchmarks.suite import Suite, load_suite
from tasks.errors import UserError

LOG = "log.txt"


@dataclass(frozen=True)
class Job:
    """One run of the plan: an item of ``planning.plan_runs``, and what the display needs of it."""

    planned: Mapping[str, Any]
    baseline: bool = False

    def __post_init__(self) -> None:
        declare_stored(self.planned)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self.planned["run_id"])

    @property
    def label(self) -> str:
        """What rows call the method."""
        return str(self.planned["label"])

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.planned["spec"]["seed"])

    @property
    def headline(self) -> str:
        """The primary metric of the run."""
        return str(self.planned["headline"])

    @property
    def seconds(self) -> float | None:
        """The estimate, if there is one."""
        estimate = self.planned.get("seconds")
        return None if estimate is None else float(estimate)

    def failed_row(self, reason: str) -> Row:
        """The row of a run that did not come to its end."""
        spec = self.planned["spec"]
        return Row(
            suite=spec["suite"],
            run_id=self.run_id,
            task=self.planned["task"],
            dataset=self.planned["dataset"],
            arch=self.planned["arch"],
            method=self.label,
            variant="",
            seed=self.seed,
            phase="test",
            metric=self.headline,
            value=None,
            unit=metric_info(self.headline).unit,
            status=FAILED,
            reason=reason,
        )


@dataclass(frozen=True)
class Outcome:
    """How a run ended in this process: its rows, its wall-clock seconds, and why it failed."""

    job: Job
    rows: Sequence[Row]
    seconds: float
    log: Path
    reason: str = ""

    def headlines(self) -> dict[str, float]:
        """The primary metric on test by variant, in the unit of tables."""
        scale = metric_info(self.job.headline).scale
        return {
            row.variant: row.value / scale
            for row in self.rows
            if row.metric == self.job.headline
            and row.phase == "test"
            and row.status == OK
            and row.value is not None
        }


class Observer:
    """Receives what happens while a suite runs; does nothing by itself."""

    def found_damage(self, sentence: str) -> None:
        """A file of the results folder is not what was written; it is made again."""

    def started(self, job: Job) -> None:
        """A run begins."""

    def event(self, job: Job, event: Mapping[str, Any]) -> None:
        """The run reports progress, a metric or a note."""

    def tick(self) -> None:
        """A quarter of a second has passed."""

    def stopping(self, job: Job) -> None:
        """The run was asked to stop, and ends its training step first."""

    def ended(self, outcome: Outcome) -> None:
        """A run has ended, well or not; its rows are on disk."""


def read_suite_file(server: ForkServer, name: str, method_file: Path | None) -> Suite:
    """Read a suite; a method file is imported in a process of its own, for it imports torch.

    Raises:
        UserError: no such suite, or the suite or the method file is wrong.
    """
    if method_file is None:
        return load_suite(name)
    try:
        suite: Suite = _checked(server, _load, name, method_file)
    except RunFailed as error:
        raise UserError(
            f"{name} with the method file {method_file}: the process that read them ended: "
            f"{error.reason}"
        ) from error
    return suite


def plan_suite(
    server: ForkServer,
    suite: Suite,
    on_event: Callable[[dict[str, Any]], None] | None = None,
    finished: frozenset[str] = frozenset(),
) -> list[Job]:
    """Check, name and estimate every run of a suite in a process of its own.

    Args:
        server: gives the process.
        suite: what to plan.
        on_event: takes ``planned`` events.
        finished: ids of runs that need no estimate.

    Raises:
        UserError: one of them cannot work; nothing has been trained.
    """
    entries = suite.planned()
    watched = _Watched(on_event)
    try:
        planned = _checked(
            server, _plan, [spec.to_dict() for spec, _, _ in entries], finished, on_event=watched
        )
    except UserError as error:
        raise UserError(f"{_place(suite, entries, watched)}: {error}") from error
    except RunFailed as error:
        spec = entries[max(watched.run - 1, 0)][0]
        raise UserError(
            f"{_place(suite, entries, watched)}: {spec.called}: the process that checked it ended: "
            f"{error.reason}"
        ) from error
    return [
        Job(item, method == suite.baseline_method)
        for item, (_, _, method) in zip(planned, entries, strict=True)
    ]


def plan_run(server: ForkServer, spec: Mapping[str, Any]) -> Job:
    """Check, name and estimate one run by its specification, in a process of its own.

    Raises:
        UserError: it cannot work; nothing has been trained.
    """
    try:
        (planned,) = _checked(server, _plan, [dict(spec)], frozenset())
    except RunFailed as error:
        named = RunSpec.from_dict(spec).called
        raise UserError(f"{named}: the process that checked it ended: {error.reason}") from error
    return Job(planned)


def recorded_plan(suite: Suite, jobs: Iterable[Job]) -> Plan:
    """The plan as the results directory keeps it."""
    runs = tuple(PlannedRun(job.run_id, job.label, job.seed, job.baseline) for job in jobs)
    return Plan(suite.name, suite.profile, suite.title, suite.budget.as_dict(), runs)


class SuiteRun:
    """The runs of one plan, carried out in order; a failure is recorded and the rest continues.

    Args:
        jobs: the plan, in order.
        plan: the same as the store keeps it.
        store: where results are; the caller holds its lock.
        server: gives each run its process.
        publish: called with the results directory whenever ``rows.csv`` has changed.
        execute: what a run's process calls, ``(planned, run_folder, report)``; it leaves a
            finished run folder.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        plan: Plan,
        store: Store,
        server: ForkServer,
        publish: Callable[[Path], object],
        execute: Callable[..., Any] | str = "benchmarks.engine.run:execute",
    ) -> None:
        self.jobs = jobs
        self.outcomes: list[Outcome] = []
        self._plan = plan
        self._store = store
        self._server = server
        self._publish = publish
        self._execute = execute

    def waiting(self) -> list[Job]:
        """The runs that are neither finished nor were tried by this process, each once."""
        tried = {outcome.job.run_id for outcome in self.outcomes}
        jobs = {job.run_id: job for job in reversed(self.jobs)}
        return [
            job
            for job in sources_first(self.jobs)
            if jobs[job.run_id] is job
            and job.run_id not in tried
            and not self._store.is_finished(job.run_id)
        ]

    def finished(self) -> int:
        """How many runs of the plan are finished."""
        return sum(self._store.is_finished(job.run_id) for job in self.jobs)

    def failures(self) -> list[Outcome]:
        """The runs that failed in this process."""
        return [outcome for outcome in self.outcomes if outcome.reason]

    def run(self, observer: Observer) -> list[Row]:
        """Carry out every run that is not finished, and return the rows of the whole plan.

        A run whose records are not what it wrote is set aside and repeated, and the observer hears
        which file it was.

        Raises:
            KeyboardInterrupt: the run under way has been ended; finished ones are on disk.
            UserError: results cannot be written, belong to another suite or to a newer version, or
                were changed while the suite ran.
        """
        self._store.require_suite(self._plan.suite)
        if not self._set_damaged_aside(observer):
            for sentence in upkeep.damage_of_folder(self._store):
                observer.found_damage(sentence)
        self._store.write_plan(self._plan)
        self._store.watch()
        rows = self._collect(observer)
        half_done = unfinished_runs(self._store)
        for job in self.waiting():
            observer.started(job)
            note = begun_under_another_id(job.planned, half_done)
            if note:
                observer.event(job, {"event": "note", "text": note})
            outcome = self._run(job, observer)
            self.outcomes.append(outcome)
            rows = self._collect(observer)
            observer.ended(outcome)
        self._store.require_present()
        upkeep.require_ended(self._store, [job.run_id for job in self.jobs])
        return rows

    def _run(self, job: Job, observer: Observer) -> Outcome:
        self._store.require_present()
        had_failed = self._store.state(job.run_id) == FAILED
        folder = self._store.open_run(job.run_id)
        if had_failed:  # the row that says so is not the run's any more
            self._collect(observer)
        began = time.monotonic()
        reason = ""

        def tick() -> None:
            self._store.require_present()
            observer.tick()

        try:
            self._server.call(
                self._execute,
                dict(job.planned),
                str(folder.absolute()),
                on_event=lambda event: observer.event(job, event),
                log=folder / LOG,
                on_tick=tick,
                on_stop=lambda: observer.stopping(job),
            )
            if not self._store.is_finished(job.run_id):
                reason = "the run ended without a whole set of results"
        except RunFailed as error:
            reason = error.reason
        except UserError as error:
            reason = str(error)
        self._store.require_present()
        if reason:
            manifest = started_manifest(folder) or {"run_id": job.run_id, **job.planned}
            row = job.failed_row(reason)
            write_failed_run(folder, [row], {**manifest, "reason": reason})
        seconds = time.monotonic() - began
        return Outcome(job, self._store.collect([job.run_id]), seconds, folder / LOG, reason)

    def _set_damaged_aside(self, observer: Observer) -> bool:
        """Whether there was any damaged run."""
        sentences = upkeep.set_damaged_aside(self._store, [job.run_id for job in self.jobs])
        for sentence in sentences:
            observer.found_damage(sentence)
        return bool(sentences)

    def _collect(self, observer: Observer) -> list[Row]:
        self._store.require_present()
        self._set_damaged_aside(observer)
        rows = self._store.write_collected(self._plan.runs)
        self._publish(self._store.path)
        return rows


def sources_first(jobs: Sequence[Job]) -> list[Job]:
    """The jobs in order, but each after the run of the plan that it starts from."""
    by_id = {job.run_id: job for job in reversed(jobs)}
    ordered: dict[str, Job] = {}

    def add(job: Job) -> None:
        source = by_id.get((job.planned.get("init_from") or {}).get("run_id", ""))
        if source is not None and source.run_id not in ordered:
            add(source)
        ordered.setdefault(job.run_id, job)

    for job in jobs:
        add(job)
    return [*ordered.values(), *(job for job in jobs if ordered[job.run_id] is not job)]


def _checked(server: ForkServer, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    # What libraries print while a plan is checked is of no use, and would corrupt --json.
    return server.call(function, *args, log=Path(os.devnull), **options)


class _Watched:
    """Passes the events of planning on, and knows which run is being checked."""

    def __init__(self, on_event: Callable[[dict[str, Any]], None] | None) -> None:
        self.run = 0
        """Counted from 1; 0 before the first."""
        self.part = ""
        """Of its specification: ``device``, ``task``, ``method``, ``recipe``; empty for all."""
        self._on_event = on_event

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "planning":
            self.run, self.part = int(event["run"]), str(event.get("part", ""))
        elif self._on_event is not None:
            self._on_event(event)


def _place(
    suite: Suite, entries: Sequence[tuple[RunSpec, TaskEntry, MethodEntry]], watched: _Watched
) -> str:
    """Where the suite file has what was being checked: ``FILE:LINE``, or the file alone."""
    if not watched.run:
        return suite.source or suite.name
    _, task, method = entries[watched.run - 1]
    of_method = ("methods", suite.methods.index(method))
    of_task = ("task" if ("task",) in suite.lines else "tasks", suite.tasks.index(task))
    place = {"task": of_task, "method": of_method, "": of_method}.get(watched.part, (watched.part,))
    line = suite.lines.get(place)
    return f"{suite.source}:{line}" if line else suite.source or suite.name


def _load(name: str, method_file: Path, report: Callable[..., None]) -> Suite:
    return load_suite(name, method_file)


def _plan(
    specs: list[dict[str, Any]], finished: frozenset[str], report: Callable[..., None]
) -> list[dict[str, Any]]:
    # Imported in the child alone: the parent stays free of torch.
    from benchmarks.launch.planning import plan_runs

    return plan_runs(specs, report, estimate=True, finished=finished)
