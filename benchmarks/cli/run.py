"""``depthbench run``: carry out a suite, or go on with one."""

from __future__ import annotations

import contextlib
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.budget import Budget
from benchmarks.cli.live import LiveDisplay, PlainDisplay
from benchmarks.cli.trust import listing
from benchmarks.engine.stopping import Stopped, exit_code, stop_signals
from benchmarks.launch.local import ForkServer
from benchmarks.launch.preload import preload_for
from benchmarks.launch.suite_run import (
    Job,
    SuiteRun,
    plan_suite,
    read_suite_file,
    recorded_plan,
)
from benchmarks.launch.timing import duration, time_left
from benchmarks.records.row import Row
from benchmarks.records.store import FINISHED, RUNNING, Store
from benchmarks.report.console import console


def run(
    suite: Annotated[
        str, typer.Argument(help="Name of a built-in suite, or path of a suite file.")
    ],
    results: Annotated[
        Path | None, typer.Option(help="Folder for the results; default results/SUITE.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N, in place of the suite's.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="epochs=10, seconds=600, train_flops=1e15 and the like, in place of the suite's."
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(help="How many seeds, from 0 on, in place of the suite's.", min=1),
    ] = None,
    method_file: Annotated[
        Path | None, typer.Option(help="A Python file with methods or tasks of your own.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--plan", "--dry-run", help="Check and time the plan; write nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of tables.")
    ] = False,
) -> None:
    """Run a suite; the same command resumes it.

    Exits with 0 when every run is finished, 1 when one failed, 130 after Ctrl-C, and 128 and the
    signal's number after SIGTERM, SIGHUP, SIGUSR1 or SIGUSR2: the run under way ends its step and
    saves a checkpoint first.

    Example: depthbench run my_suite.yaml --results results/my_suite
    """
    messages = console(stderr=as_json)
    driver: SuiteRun | None = None
    try:
        with stop_signals(), ForkServer(preload_for(suite)) as server:
            plan = read_suite_file(server, suite, method_file)
            if device is not None:
                plan = plan.with_device(device)
            if budget is not None:
                plan = plan.with_budget(Budget.parse(budget))
            if seeds is not None:
                plan = replace(plan, seeds=tuple(range(seeds)))
            for line in listing(plan.specs()):
                messages.print(line, highlight=False, markup=False, soft_wrap=True)
            store = Store(results if results is not None else Path("results") / plan.name)
            with nullcontext() if dry_run else store.lock():
                with messages.status("checking the runs") as status:
                    jobs = plan_suite(
                        server,
                        plan,
                        lambda event: status.update(
                            f"checking the runs: {event['done']} of {event['of']}"
                        ),
                        # A dry run times every run; else only what is left to do is worth it.
                        frozenset() if dry_run else store.finished_runs(),
                    )
                if dry_run:
                    print_plan(jobs, store, as_json)
                    return
                driver = SuiteRun(jobs, recorded_plan(plan, jobs), store, server, publish)
                with display(driver, messages) as shown:
                    rows = driver.run(shown)
    except KeyboardInterrupt as stop:
        raise leave(stop, driver) from None
    if as_json:
        print(json.dumps(document(driver, rows, store), indent=2))
    else:
        print_results(driver, store)
    if driver.failures():
        raise typer.Exit(1)


def leave(stop: KeyboardInterrupt, driver: SuiteRun | None) -> typer.Exit:
    """Say where a command was stopped, and give what it exits with.

    Args:
        stop: Ctrl-C, or a signal.
        driver: of the runs; None before there was one.
    """
    by = f" by {stop}" if isinstance(stop, Stopped) else ""
    at = getattr(stop, "at", {})
    facts = [f"checkpoint at batch {at['batch']} of phase {at['phase']}"] if at else []
    if driver is None:
        facts.append("no run is finished")
    else:
        facts.append(f"{driver.finished()} of {len(driver.jobs)} runs are finished")
    with contextlib.suppress(OSError):  # a terminal that was closed takes no text
        typer.echo(f"stopped{by}: {'; '.join(facts)}; the same command resumes", err=True)
    return typer.Exit(exit_code(stop))


def publish(folder: Path) -> None:
    """Bring the tables of a results directory up to date with its rows."""
    # Not at the top: pandas is slow to import, and ``--help`` needs none of it.
    from benchmarks.report.tables import write_tables

    write_tables(folder)


def display(driver: SuiteRun, console: Console) -> Any:
    """A live table on a terminal, a line a run elsewhere."""
    if console.is_terminal:
        return LiveDisplay(driver.jobs, driver.waiting(), driver.finished(), console)
    return PlainDisplay(
        driver.jobs, driver.finished(), lambda line: print(line, file=console.file, flush=True)
    )


def print_plan(jobs: list[Job], store: Store, as_json: bool) -> None:
    """What would be run, how long that would take, and what is there already."""
    states = [store.state(job.run_id) for job in jobs]
    if as_json:
        lines = [
            {
                "run_id": job.run_id,
                "label": job.label,
                "seed": job.seed,
                "batches": job.planned["batches"],
                "expected_batches": job.planned.get("expected_batches"),
                "estimated_seconds": job.seconds,
                "state": state,
            }
            for job, state in zip(jobs, states, strict=True)
        ]
        print(json.dumps({"results": str(store.path), "runs": lines}, indent=2))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("run", "method", "seed", "batches", "estimate", "state"):
        table.add_column(column, justify="right" if column in ("batches", "estimate") else "left")
    for job, state in zip(jobs, states, strict=True):
        table.add_row(
            Text(job.run_id),
            Text(job.label),
            str(job.seed),
            steps_text(job),
            duration(job.seconds),
            "finished" if state == FINISHED else "to continue" if state == RUNNING else state,
        )
    screen = console()
    screen.print(table)
    waiting = [job.seconds for job, state in zip(jobs, states, strict=True) if state != FINISHED]
    screen.print(
        f"{len(waiting)} of {len(jobs)} runs to do, about {duration(time_left(waiting, []))} of "
        f"training; results would be in {store.path}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def steps_text(job: Job) -> str:
    """How many batches a run has: ``400``, ``about 400`` where meters end it, ``?``."""
    batches, expected = job.planned["batches"], job.planned.get("expected_batches")
    metered = bool(Budget.parse(job.planned["spec"]["budget"]).metered)
    if not metered:
        return str(batches)
    return "?" if expected is None else f"about {expected}"


def document(driver: SuiteRun, rows: list[Row], store: Store) -> dict[str, Any]:
    """What ``--json`` prints at the end."""
    return {
        "results": str(store.path),
        "rows_csv": str(store.rows_path),
        "tables": [str(path) for path in sorted(store.path.glob("table.*"))],
        "runs": len(driver.jobs),
        "finished": driver.finished(),
        "failed": [
            {
                "run_id": outcome.job.run_id,
                "label": outcome.job.label,
                "seed": outcome.job.seed,
                "reason": outcome.reason,
                "log": str(outcome.log),
            }
            for outcome in driver.failures()
        ],
        "rows": [row.as_dict() for row in rows],
    }


def print_results(driver: SuiteRun, store: Store) -> None:
    """The table, where everything is, and which runs failed."""
    table = store.path / "table.md"
    if table.exists():
        print(f"\n{table.read_text(encoding='utf-8').strip()}\n")
    print(f"{driver.finished()} of {len(driver.jobs)} runs are finished; results: {store.path}")
    for outcome in driver.failures():
        job = outcome.job
        print(f"failed: {job.label} seed {job.seed}: {outcome.reason} (log: {outcome.log})")
    if driver.failures():
        print("the same command tries the failed runs again")
