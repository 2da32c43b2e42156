"""How a run went: its processes, how far an unfinished one is, and what to be wary of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.explain.balance import MISSES, Balance
from benchmarks.explain.commands import results_folder, suite_command
from benchmarks.explain.subject import Subject
from benchmarks.origin import id_holds
from benchmarks.records import FAILED, UNAVAILABLE
from benchmarks.verification import UNVERIFIED


def segments(run: Subject) -> list[dict[str, Any]]:
    """The processes that made up the run: when each began and ended, and how."""
    found = []
    for number, segment in enumerate(run.listed("segments"), 1):
        ended = segment.get("ended")
        interrupted = ended == "interrupted" or (ended is None and not run_is_alive(run))
        found.append(
            {
                "process": number,
                "started": segment.get("started"),
                "ended": None if interrupted else ended,
                "seconds": segment.get("seconds"),
                "interrupted": interrupted,
                "resumed": number > 1,
            }
        )
    return found


def standing(run: Subject) -> dict[str, Any] | None:
    """How far a run is that has not finished, why, and the command to go on; None for others."""
    if run.finished:
        return None
    progress = run.progress
    saved = progress is not None and not progress.problem
    return {
        "reason": _reason(run),
        "under_way": run_is_alive(run),
        "checkpoint": None
        if progress is None
        else {
            "path": str(progress.path),
            "size": progress.size,
            "written": progress.written,
            "problem": progress.problem,
            "phase": progress.phase if saved else None,
            "step": progress.step if saved else None,
            "phase_ended": progress.ended if saved else None,
            "seconds": {p: dict(windows) for p, windows in progress.seconds.items()},
        },
        "log": list(run.log),
        "command": suite_command(run),
        "results": None if results_folder(run) is None else str(results_folder(run)),
    }


def run_is_alive(run: Subject) -> bool:
    """Whether the run's process is at work on this machine; False where that cannot be told."""
    started = run.listed("segments")
    pid = started[-1].get("pid") if started and not run.finished else None
    if not isinstance(pid, int) or run.state == FAILED:
        return False
    try:
        # Another process may have the number by now: a run's is a fork of the server.
        return b"benchmarks.launch.server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def warnings(run: Subject, balances: Sequence[Balance]) -> list[str]:
    """What should make a reader careful, a sentence each."""
    found = [] if run.verified else [f"unverified: {UNVERIFIED}"]
    if id_holds(run.manifest) is False:
        found.append("the id does not follow from the manifest: the manifest was changed")
    if run.part("environment", "git").get("dirty"):
        found.append("the code had changes that are in no commit")
    for balance in balances:
        if balance.verdict == MISSES:
            found.append(f"{balance.title}: the sum misses {balance.whole_name} ({balance.why})")
    gpu = run.part("meters", "gpu")
    notes, throttled = gpu.get("notes"), gpu.get("throttle_reasons")
    found += [str(note) for note in notes] if isinstance(notes, list) else []
    if isinstance(throttled, list) and throttled:
        found.append(f"the GPU was throttled: {', '.join(map(str, throttled))}")
    for row in run.rows:
        if row.metric == "mem_alloc_retries" and row.value:
            found.append(
                f"the allocator ran out of memory and tried again {row.value:.0f} times in phase "
                f"{row.phase}, which takes time"
            )
    if run.finished:
        found += _steps(run)
        found += [f"there is no learning curve: {run.curve_missing}"] if run.curve_missing else []
    return found


def unavailable(run: Subject) -> list[dict[str, Any]]:
    """What could not be measured, by the reason why not."""
    reasons: dict[str, dict[str, None]] = {}
    for row in run.rows:
        if row.status == UNAVAILABLE:
            name = (
                f"{row.metric} ({row.phase})" if "val" in row.phase or "test" in row.phase else ""
            )
            reasons.setdefault(row.reason, {})[name or row.metric] = None
    return [{"reason": reason, "metrics": list(names)} for reason, names in reasons.items()]


def _reason(run: Subject) -> str:
    told = next((row.reason for row in run.rows if row.status == FAILED and row.reason), "")
    return str(run.manifest.get("reason") or told)


def _steps(run: Subject) -> list[str]:
    """Manifest, rows and curve each tell how many batches a phase had."""
    found = []
    for phase, steps in run.phases:
        told = run.value("steps", phase)
        if told is not None and told != steps:
            found.append(f"phase {phase} has {steps} batches in the manifest, {told:.0f} in rows")
        points = [point for point in run.curve if point["phase"] == phase]
        if points and points[-1]["step"] != steps:
            found.append(
                f"the curve of phase {phase} ends at batch {points[-1]['step']} of {steps}: it was "
                "cut short or changed"
            )
    return found
