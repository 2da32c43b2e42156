"""``depthbench reproduce``: a paper's table, reported beside measured."""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import nullcontext
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.analysis.statistics.equivalence import CONTRADICTED
from benchmarks.cli.run import display, leave
from benchmarks.engine.stopping import stop_signals
from benchmarks.launch.local import ForkServer
from benchmarks.launch.preload import PRELOAD
from benchmarks.launch.suite_run import SuiteRun
from benchmarks.papers.claims import Claim
from benchmarks.papers.judging import Finding, judge_items
from benchmarks.papers.plan_report import plan_document, print_plan
from benchmarks.papers.planning import Reproduction, has_gpu, plan_reproduction
from benchmarks.papers.report import print_findings, write
from benchmarks.papers.routes import Setting
from benchmarks.papers.routing import select_claims
from benchmarks.records.plan import vouch_for
from benchmarks.records.row import Row
from benchmarks.records.store import Plan, PlannedRun, Store
from benchmarks.report.console import console
from tasks.errors import UserError


class Profile(str, Enum):
    """How large a reproduction is."""

    paper = "paper"
    short = "short"
    smoke = "smoke"


SEEDS = {Profile.paper: 3, Profile.short: 1, Profile.smoke: 1}
"""Unless given otherwise: only ``paper`` gives verdicts, and they take intervals."""
PRELOAD_DETECTION = "tasks.detection.preload"


def reproduce(
    paper: Annotated[str, typer.Argument(help="adn, mind, odn, repl or swn.")],
    table: Annotated[
        str | None, typer.Option(help="Only this table, such as 1, I or README.")
    ] = None,
    row: Annotated[
        list[str] | None,
        typer.Option(
            help="Only rows with a data set, network, method, variant or metric of this name, such "
            "as mnist or 'resnet*'; all must match where several are given."
        ),
    ] = None,
    profile: Annotated[
        Profile,
        typer.Option(
            help="paper: the published budget and recipe. short: the same code in minutes of one "
            "GPU. smoke: small stand-ins, seconds to minutes of a CPU."
        ),
    ] = Profile.short,
    seeds: Annotated[
        int | None, typer.Option(help="How many seeds; 3 for the profile paper, 1 for others.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show the runs and what they cost; write nothing.")
    ] = False,
    results: Annotated[
        Path | None,
        typer.Option(help="Folder for the results; default results/reproduce-PAPER-PROFILE."),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of all data sets, in place of $DEPTHBENCH_DATA.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    controls: Annotated[
        bool,
        typer.Option(
            "--controls", help="Also run what tells what a method's own part is worth, if known."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of tables.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a claim is contradicted.")
    ] = False,
) -> None:
    """Run a paper's table: reported vs. measured, with a verdict.

    Runs that are finished are not run again. Only the profile paper can confirm or contradict a
    claim: what a smaller one measures is shown beside it.

    Exits with 0 when every run is finished, whatever the verdicts; 1 when a run failed, or with
    --strict when a claim is contradicted; 130 after Ctrl-C.

    Example: depthbench reproduce odn --table I --profile short
    """
    claims = select_claims(paper, table, row or ())
    count = _seed_count(profile, seeds)
    if data_root is not None:
        _use_data_root(data_root)
    messages = console(stderr=as_json)
    driver: SuiteRun | None = None
    try:
        with stop_signals(), ForkServer(_preload(claims)) as server:
            setting = Setting(profile.value, has_gpu(server, device), device)
            shown_table = None if table is None else claims[0].table
            seeds_of = tuple(range(count))
            made = Reproduction(paper, shown_table, setting, seeds_of, with_controls=controls)
            store = Store(results or Path("results") / made.suite)
            store.require_suite(made.suite)
            with nullcontext() if plan else store.lock():
                with messages.status("planning") as status:
                    # A plan times every run; else only what is left to do is worth it.
                    finished = frozenset() if plan else store.finished_runs()
                    plan_reproduction(server, made, claims, finished, status.update)
                if plan:
                    _show_plan(made, store, as_json)
                    return
                driver = _driver(made, store, server)
                with display(driver, messages) as shown:
                    rows = driver.run(shown)
    except KeyboardInterrupt as stop:
        raise leave(stop, driver) from None
    findings = judge_items(made.items, _by_run(rows))
    files = write(store.path, made, findings)
    vouch_for(store.path, files)
    if as_json:
        print(json.dumps(_document(made, driver, findings, store, files), indent=2))
    else:
        print()
        print_findings(made, findings)
        print(f"written: {', '.join(map(str, files))}")
        if made.controls:
            print(f"controls are beside the runs: depthbench report {store.path}")
    contradicted = strict and any(each.verdict == CONTRADICTED for each in findings)
    if driver.failures() or contradicted:
        raise typer.Exit(1)


def _seed_count(profile: Profile, asked: int | None) -> int:
    if asked is None:
        return SEEDS[profile]
    if asked < 1:
        raise UserError(f"--seeds is {asked}: give a number of at least 1")
    if profile is Profile.paper and asked < 2:
        raise UserError(
            "a verdict of the profile paper takes an interval, and one seed has none: give --seeds "
            "2 or more"
        )
    return asked


def _use_data_root(folder: Path) -> None:
    """Let every run look there: by the environment, since a path is no part of what a run is."""
    if not folder.expanduser().is_dir():
        raise UserError(f"there is no folder {folder}: name the folder of all data sets")
    os.environ["DEPTHBENCH_DATA"] = str(folder.expanduser().resolve())


def _preload(claims: list[Claim]) -> tuple[str, ...]:
    detection = any(claim.task == "detection" for claim in claims)
    return (*PRELOAD, PRELOAD_DETECTION) if detection else PRELOAD


def _driver(made: Reproduction, store: Store, server: ForkServer) -> SuiteRun:
    jobs = made.jobs
    runs = tuple(PlannedRun(job.run_id, job.label, job.seed) for job in jobs)
    plan = Plan(made.suite, made.setting.profile, "", {}, runs)
    return SuiteRun(jobs, plan, store, server, publish=lambda folder: None)


def _show_plan(made: Reproduction, store: Store, as_json: bool) -> None:
    if as_json:
        print(json.dumps(plan_document(made, store), indent=2))
    else:
        print_plan(made, store)


def _by_run(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.run_id, []).append(row)
    return found


def _document(
    made: Reproduction,
    driver: SuiteRun,
    findings: list[Finding],
    store: Store,
    files: list[Path],
) -> dict[str, Any]:
    """What ``--json`` prints at the end."""
    return {
        "paper": made.paper,
        "table": made.table,
        "profile": made.setting.profile,
        "seeds": list(made.seeds),
        "results": str(store.path),
        "files": [str(path) for path in files],
        "runs": len(driver.jobs),
        "finished": driver.finished(),
        "ran": len(driver.outcomes),
        "failed": [
            {"run_id": o.job.run_id, "reason": o.reason, "log": str(o.log)}
            for o in driver.failures()
        ],
        "verdicts": dict(Counter(each.verdict for each in findings)),
        "claims": [each.as_dict() for each in findings],
    }
