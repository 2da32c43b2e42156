"""From claims to runs: each distinct run once, with its seeds, checked and timed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.launch.local import ForkServer, RunFailed
from benchmarks.launch.suite_run import Job
from benchmarks.papers.claims import Claim
from benchmarks.papers.routes import Counted, Route, Setting, Trained
from benchmarks.papers.routing import route
from benchmarks.spec import RunSpec
from tasks.errors import UserError

Checked = Any
"""``benchmarks.papers.verdicts.Checked``."""

WORK = "benchmarks.papers.work"
PLANNED, ABSENT = "planned", "absent"
"""What ``work.plan`` says of a run."""
_Planned = tuple[tuple[Job, ...], str]
"""The runs of a spec, or why there are none."""
_TO_NOWHERE = Path(os.devnull)


@dataclass(frozen=True)
class Item:
    """One claim of a reproduction.

    Attributes:
        claim: what the paper reports.
        route: how it is checked.
        jobs: its runs, one a seed; none where nothing is run.
        missing: why there is no run where the route has one: absent data, say.
        checked: what ``verify`` found, for a claim that follows from the network alone.
    """

    claim: Claim
    route: Route
    jobs: tuple[Job, ...] = ()
    missing: str = ""
    checked: Checked = None


@dataclass
class Reproduction:
    """The plan of a reproduction."""

    paper: str
    table: str | None
    setting: Setting
    seeds: tuple[int, ...]
    items: list[Item] = field(default_factory=list)
    with_controls: bool = False
    controls: list[Job] = field(default_factory=list)
    """Runs of no claim."""

    @property
    def suite(self) -> str:
        """What rows call it, and the name of its default folder."""
        return f"reproduce-{self.paper}-{self.setting.profile}"

    @property
    def jobs(self) -> list[Job]:
        """All runs, each once; the first seed of everything comes before the second of anything."""
        jobs = {job.run_id: job for item in self.items for job in item.jobs}
        jobs |= {job.run_id: job for job in self.controls}
        return sorted(jobs.values(), key=lambda job: job.seed)


def has_gpu(server: ForkServer, device: str) -> bool:
    """Whether runs on a device (auto, cpu, cuda, cuda:N) have a GPU.

    Raises:
        UserError: the requested GPU is not there.
    """
    try:
        return bool(server.call(f"{WORK}:has_gpu", device, log=_TO_NOWHERE))
    except RunFailed as error:
        raise UserError(f"the device could not be looked at: {error.reason}") from error


def plan_reproduction(
    server: ForkServer,
    reproduction: Reproduction,
    claims: Sequence[Claim],
    finished: frozenset[str],
    status: Callable[[str], object] = lambda text: None,
) -> Reproduction:
    """Fill in the items: what can be counted is, and every distinct run is checked and timed.

    Absent data and what a method refuses are kept with the claims that they concern; a control
    that cannot be made is left out.

    Args:
        server: gives the processes.
        reproduction: without items.
        claims: those meant.
        finished: ids of runs that need no estimate.
        status: called with what is being done.

    Raises:
        UserError: a claim cannot be counted, for reasons of this machine.
    """
    setting = reproduction.setting
    items = [Item(claim, route(claim, setting)) for claim in claims]
    counted = [item.claim for item in items if isinstance(item.route, Counted)]
    if counted:
        status(f"computing {len(counted)} exact figures")
    checked = iter(_verified(server, counted) if counted else ())
    runs = [run for run in map(_measured_run, items) if run]
    specs = {_key(run.spec): run.spec for run in runs}
    controls: dict[str, RunSpec] = {}
    if reproduction.with_controls:
        controls = {_key(spec): spec for run in runs for spec in run.controls}
        specs |= controls
    found: dict[str, _Planned] = {}
    absent: dict[str, str] = {}
    for number, (key, spec) in enumerate(specs.items(), 1):
        status(f"checking the runs: {number} of {len(specs)}")
        found[key] = _plan(server, spec, reproduction.seeds, finished, absent)
    reproduction.items = [_filled(item, checked, found) for item in items]
    reproduction.controls = [job for key in controls for job in found[key][0]]
    return reproduction


def _plan(
    server: ForkServer,
    spec: RunSpec,
    seeds: Sequence[int],
    finished: frozenset[str],
    absent: dict[str, str],
) -> _Planned:
    """The runs of one spec, or why there are none; ``absent`` keeps what tasks lack."""
    task = json.dumps([spec.task, dict(spec.task_options)], sort_keys=True)
    if task in absent:
        return (), absent[task]
    specs = [replace(spec, seed=seed).to_dict() for seed in seeds]
    try:
        kind, answer = server.call(f"{WORK}:plan", specs, finished, log=_TO_NOWHERE)
    except RunFailed as error:
        return (), f"{spec.called}: the process that checked it ended: {error.reason}"
    if kind == PLANNED:
        return tuple(Job(planned) for planned in answer), ""
    if kind == ABSENT:
        absent[task] = answer
    return (), answer


def _filled(item: Item, checked: Any, found: dict[str, _Planned]) -> Item:
    if isinstance(item.route, Counted):
        return replace(item, checked=next(checked))
    run = _measured_run(item)
    if run is not None:
        jobs, missing = found[_key(run.spec)]
        return replace(item, jobs=jobs, missing=missing)
    return item


def _measured_run(item: Item) -> Trained | None:
    """The run of a claim; None where there is none, or none that measures what is claimed."""
    run = item.route
    return run if isinstance(run, Trained) and not isinstance(run.measure, str) else None


def _verified(server: ForkServer, claims: list[Claim]) -> list[Checked]:
    try:
        found: list[Checked] = server.call(f"{WORK}:verify", claims, log=_TO_NOWHERE)
    except RunFailed as error:
        raise UserError(f"the exact figures could not be computed: {error.reason}") from error
    return found


def _key(spec: RunSpec) -> str:
    return json.dumps(spec.to_dict(), sort_keys=True)
