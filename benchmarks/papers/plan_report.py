"""The plan of a reproduction before anything is spent: runs, their cost, and what is not run."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.table import Table
from rich.text import Text

from benchmarks.launch.suite_run import Job
from benchmarks.launch.timing import duration
from benchmarks.papers.cautions import NOT_RUN
from benchmarks.papers.planning import Item, Reproduction
from benchmarks.papers.report import heading
from benchmarks.papers.routes import PAPER, Counted, Excluded, Trained
from benchmarks.records.store import FINISHED, RUNNING, Store
from benchmarks.report.console import console

LEFT_OUT = (
    "steps were timed on the whole network; evaluations come on top, and a search that ends by its "
    "own rule takes less"
)


def left_to_do(reproduction: Reproduction, store: Store) -> list[Job]:
    """The runs that are not finished."""
    return [job for job in reproduction.jobs if not store.is_finished(job.run_id)]


def hours(jobs: list[Job], gpu: bool) -> float | None:
    """GPU-hours, or CPU-hours (one core for one hour); None where a run has no estimate."""
    total = 0.0
    for job in jobs:
        if job.seconds is None:
            return None
        total += job.seconds * (1 if gpu else int(job.planned["fingerprint"]["threads"]))
    return total / 3600


def not_run(item: Item) -> tuple[str, str] | None:
    """Verdict and reason of a claim that has no run; None for others."""
    if isinstance(item.route, Excluded):
        return item.route.verdict, item.route.reason
    return (NOT_RUN, item.missing) if item.missing else None


def never_comparable(item: Item) -> str:
    """What keeps a claim from a verdict however long its runs are; empty where nothing does."""
    return "; ".join(item.route.changes) if item.jobs and isinstance(item.route, Trained) else ""


def plan_document(reproduction: Reproduction, store: Store) -> dict[str, Any]:
    """What ``--plan --json`` prints."""
    gpu, waiting = reproduction.setting.gpu, left_to_do(reproduction, store)
    return {
        "paper": reproduction.paper,
        "table": reproduction.table,
        "profile": reproduction.setting.profile,
        "seeds": list(reproduction.seeds),
        "results": str(store.path),
        "runs": [
            {
                "run_id": job.run_id,
                "task": job.planned["task"],
                "dataset": job.planned["dataset"],
                "arch": job.planned["arch"],
                "method": job.label,
                "seed": job.seed,
                "budget": job.planned["spec"]["budget"],
                "batches": job.planned["batches"],
                "estimated_seconds": job.seconds,
                "state": store.state(job.run_id),
            }
            for job in reproduction.jobs
        ],
        "gpu_hours" if gpu else "cpu_hours": hours(waiting, gpu),
        "claims": [_claim(item) for item in reproduction.items],
    }


def _claim(item: Item) -> dict[str, Any]:
    verdict, reason = not_run(item) or (None, None)
    if isinstance(item.route, Counted):
        verdict, reason = item.checked.verdict, item.checked.reason
    return {
        **item.claim.as_dict(),
        "verdict": verdict,
        "reason": reason,
        "never_comparable": never_comparable(item) or None,
        "runs": [job.run_id for job in item.jobs],
    }


def print_plan(reproduction: Reproduction, store: Store) -> None:
    """The runs as a table, what they cost, and what is not run and why."""
    screen = console()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("data", "network", "method", "seed", "budget", "batches", "estimate", "state"):
        table.add_column(column, justify="right" if column in ("batches", "estimate") else "left")
    for job in reproduction.jobs:
        state = store.state(job.run_id)
        table.add_row(
            *(Text(str(job.planned[key])) for key in ("dataset", "arch")),
            Text(job.label),
            str(job.seed),
            _budget(job),
            str(job.planned["batches"]),
            duration(job.seconds),
            "to continue" if state == RUNNING else state if state == FINISHED else "to do",
        )
    screen.print(Text(heading(reproduction)))
    if reproduction.jobs:
        screen.print(table)
    counted = sum(isinstance(item.route, Counted) for item in reproduction.items)
    if counted:
        screen.print(Text(f"{counted} claims are computed without a run (depthbench verify)"))
    profile = reproduction.setting.profile
    if profile != PAPER:
        screen.print(Text(f"the profile {profile} gives no verdict on what is trained"))
    else:
        reasons = Counter(filter(None, map(never_comparable, reproduction.items)))
        for why, count in reasons.items():
            screen.print(Text(f"{count} will be run and not be comparable: {why}"))
    left_out = Counter(filter(None, map(not_run, reproduction.items)))
    for (verdict, reason), count in left_out.items():
        screen.print(Text(f"{count} {verdict}: {reason}"))
    screen.print(Text(cost(reproduction, store)))


def cost(reproduction: Reproduction, store: Store) -> str:
    """``2 of 6 runs to do: about 12 min of training, 0.4 CPU-hours``, and what that leaves out."""
    jobs, waiting = reproduction.jobs, left_to_do(reproduction, store)
    pending = f"{len(waiting)} of {len(jobs)} runs to do"
    if not waiting:
        return pending
    gpu = reproduction.setting.gpu
    spent = hours(waiting, gpu)
    seconds = None if spent is None else sum(job.seconds or 0.0 for job in waiting)
    unit = "GPU-hours" if gpu else "CPU-hours (of one core)"
    amount = "?" if spent is None else f"{spent:,.0f}" if spent >= 100 else f"{spent:.2g}"
    return (
        f"{pending}: about {duration(seconds)} of training, {amount} {unit}; {LEFT_OUT}; results "
        f"would be in {store.path}"
    )


def _budget(job: Job) -> str:
    from benchmarks.budget import Budget

    return str(Budget.parse(job.planned["spec"]["budget"]))
