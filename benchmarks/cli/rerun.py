"""``depthbench rerun``: repeat a run from its manifest and say whether the numbers agree."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.analysis.agreement import allowances, compare_runs, other_seeds
from benchmarks.cli.run import display, leave
from benchmarks.cli.run_options import OfMethod, OfSeed, RunName
from benchmarks.cli.trust import require_trust
from benchmarks.engine.stopping import stop_signals
from benchmarks.launch.local import ForkServer
from benchmarks.launch.preload import preload_for_tasks
from benchmarks.launch.suite_run import Job, SuiteRun, plan_run
from benchmarks.launch.timing import duration
from benchmarks.records.curve import Point, read_curve
from benchmarks.records.identity.origin import (
    Change,
    as_recorded,
    changes,
    id_holds,
    kernel_changes,
    repeats_exactly,
)
from benchmarks.records.row import Row
from benchmarks.records.run_folder import find_run, finished_record
from benchmarks.records.store import FINISHED, Plan, PlannedRun, Store
from benchmarks.records.verification import CURVE, MANIFEST
from benchmarks.report.console import console
from benchmarks.report.repetition import DIFFER, verdict, verdict_lines
from benchmarks.spec import RunSpec
from tasks.errors import UserError

DEFAULT = Path("results") / "reruns"
TOLERANCE = 1.0
"""Points that metrics in % may differ by where neither seeds nor images are known."""


@dataclass(frozen=True)
class Original:
    """The run to repeat, and what is wrong with its files."""

    folder: Path
    manifest: Mapping[str, Any]
    rows: list[Row]
    curve: list[Point]
    doubts: list[str]


def rerun(
    run: RunName,
    method: OfMethod = None,
    seed: OfSeed = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the repetition; default results/reruns/RUN_ID."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N, in place of the run's.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Points that metrics in % may differ by where code, versions, device or kernels "
            "changed; default what the std over seeds and the number of images allow.",
        ),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the Python files that the run's manifest names.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of text.")
    ] = False,
) -> None:
    """Repeat a finished run and compare the two, value by value.

    Parameters and operations must be equal; accuracy must be equal bit by bit where code, data,
    versions, device and instruction sets are those of the run, and within noise elsewhere; time,
    energy and memory are shown as ratios. Exits with 0 if the runs agree, 1 if they differ, 2 if
    the run cannot be repeated.

    Example: depthbench rerun results/published/quickstart --method end_to_end --seed 0
    """
    original = read_original(find_run(run, method, seed))
    messages = console(stderr=as_json)
    spec = dict(original.manifest["spec"])
    require_trust(RunSpec.from_dict(spec), original.folder / MANIFEST, trust)
    if device is not None:
        spec["device"] = device
    try:
        with stop_signals(), ForkServer(preload_for_tasks([str(spec.get("task"))])) as server:
            with messages.status("checking the run"):
                job = plan_run(server, spec)
            changed = changes(original.manifest.get("fingerprint") or {}, planned_print(job))
            store = place(original, job, out)
            tell(messages, job, changed, original.doubts, store)
            with store.lock():
                carry_out(server, job, store, original, messages)
    except KeyboardInterrupt as stop:
        raise leave(stop, None) from None
    found = judge(original, store.run_dir(job.run_id), changed, tolerance)
    if as_json:
        places = {"run": str(original.folder), "rerun": str(store.run_dir(job.run_id))}
        print(json.dumps({**places, **found}, indent=2))
    else:
        print("\n".join(verdict_lines(found)))
    raise typer.Exit(int(found["verdict"] == DIFFER))


def read_original(folder: Path) -> Original:
    """The run to repeat.

    Raises:
        UserError: it is not finished, or its records are not what it wrote.
    """
    record = finished_record(folder)
    doubts = []
    holds = id_holds(record.manifest)
    if holds is False:
        doubts.append("the run's manifest is not the one that its id was made from")
    elif holds is None:
        doubts.append(
            "whether the run's manifest is the one that its id was made from is not known"
        )
    curve = read_curve(folder / CURVE) or []
    return Original(folder, record.manifest, record.rows(), curve, doubts)


def planned_print(job: Job) -> dict[str, Any]:
    """The fingerprint of the repetition, in the types that a manifest gives back."""
    return as_recorded(job.planned["fingerprint"])


def place(original: Original, job: Job, out: Path | None) -> Store:
    """The results directory of the repetition: a new one, or one that it was stopped in.

    Raises:
        UserError: ``out`` has other results, or this very repetition.
    """
    name = original.folder.absolute().name
    if out is None:
        number, store = 1, Store(DEFAULT / name)
        while store.path.exists() and store.state(job.run_id) == FINISHED:
            number += 1
            store = Store(DEFAULT / f"{name}-{number}")
        return store
    store = Store(out)
    plan = store.plan()
    if plan is not None and plan.suite != plan_name(original):
        raise UserError(f"{out} holds results of '{plan.suite}': name a new folder with --out")
    if store.state(job.run_id) == FINISHED:
        raise UserError(
            f"{out} holds a repetition of this run already: name a new folder with --out"
        )
    return store


def plan_name(original: Original) -> str:
    """What the results directory of a repetition calls its suite."""
    return f"rerun of {original.manifest.get('run_id') or original.folder.absolute().name}"


def tell(
    messages: Console, job: Job, changed: list[Change], doubts: list[str], store: Store
) -> None:
    """Say before training what is not as it was, how long it may take, and where it goes."""
    lines = [f"changed since the run: {change}" for change in changed]
    lines += [f"note: {doubt}" for doubt in doubts]
    if not changed:
        lines.append("code, data, versions and device are those of the run")
    lines.append(f"repeating it in {store.path}, about {duration(job.seconds)} of training")
    for line in lines:
        messages.print(line, highlight=False, markup=False, soft_wrap=True)


def carry_out(
    server: ForkServer, job: Job, store: Store, original: Original, messages: Console
) -> None:
    """Train the repetition.

    Raises:
        UserError: it failed.
    """
    spec = job.planned["spec"]
    runs = (PlannedRun(job.run_id, job.label, job.seed),)
    name = plan_name(original)
    plan = Plan(name, spec["profile"], name, spec["budget"], runs)
    driver = SuiteRun([job], plan, store, server, publish=lambda folder: None)
    with display(driver, messages) as shown:
        driver.run(shown)
    for outcome in driver.failures():
        raise UserError(f"the repetition failed: {outcome.reason}; its log is {outcome.log}")


def judge(
    original: Original, folder: Path, changed: list[Change], points: float | None
) -> dict[str, Any]:
    """Compare the run with its finished repetition.

    Args:
        original: the run.
        folder: of the repetition.
        changed: what its fingerprint has that the run's has not.
        points: the tolerance of metrics in %; None for what seeds and images allow.
    """
    repeated = finished_record(folder)
    manifest = repeated.manifest
    changed = [*changed, *_kernel_changes(original.manifest, manifest)]
    exactly = not changed and repeats_exactly(original.manifest) and repeats_exactly(manifest)
    seeds = other_seeds(original.folder, original.manifest)
    allowed, basis = allowances(original.rows, original.manifest, seeds)
    own = not exactly and points is None and bool(allowed)
    compared = compare_runs(
        (original.rows, original.curve),
        (repeated.rows(), read_curve(folder / CURVE) or []),
        exactly,
        TOLERANCE if points is None else points,
        watched=bool({"seconds", "joules"} & set(original.manifest["spec"].get("budget") or {})),
        allowed=allowed if own else None,
    )
    return verdict(
        compared,
        changed,
        original.doubts,
        exactly,
        TOLERANCE if points is None else points,
        basis if own else "",
    )


def _kernel_changes(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Change]:
    """Other kernels, on devices of one kind: a GPU has none of a processor's."""
    devices = [
        each["device"] if isinstance(each.get("device"), dict) else {} for each in (one, other)
    ]
    if devices[0].get("type") != devices[1].get("type"):
        return []
    return kernel_changes(*devices)
