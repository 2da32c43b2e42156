"""All that a run's folder says, as one mapping: what ``--json`` prints and the text is made of."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.budget import Budget
from benchmarks.records.identity.origin import id_holds, repeats_exactly
from benchmarks.records.manifest import kernels_of
from benchmarks.records.row import FAILED, OK, UNAVAILABLE
from benchmarks.records.verification import UNVERIFIED
from benchmarks.report.card.folder import RunFolder
from benchmarks.report.card.sums import MISSES, Sum, energy_sums, memory_sums, time_sums
from benchmarks.spec import RunSpec
from benchmarks.suite import load_suite
from benchmarks.suites.document import suite_files
from tasks.errors import UserError

QUALITY_PHASES = ("val", "test", "val_best", "test_best")
SUITE_FILE = "SUITE.yaml"
"""Stands for a suite file that is not one of the project's own: a manifest does not name it."""


def explanation(run: RunFolder) -> dict[str, Any]:
    """The document of a run, finished or not.

    Keys: ``run``, ``run_id``, ``state``, ``what`` (task, method, budget, machine, versions),
    ``standing`` (None for a finished run), ``quality``, ``networks``, ``curve``, ``time``,
    ``energy`` and ``memory`` (lists of sums, see :func:`benchmarks.report.card.sums.add_up`),
    ``segments``, ``warnings``, ``unavailable``, ``repeat``.
    """
    kinds = {"time": time_sums, "energy": energy_sums, "memory": memory_sums}
    sums = {kind: made(run) if run.finished else [] for kind, made in kinds.items()}
    columns = list(dict.fromkeys(key for point in run.curve for key in point))
    return {
        "run": str(run.folder),
        "run_id": str(run.manifest.get("run_id") or run.folder.name),
        "state": run.state,
        "id_holds": id_holds(run.manifest),
        "what": _what(run),
        "standing": None if run.finished else _standing(run),
        "quality": _quality(run),
        "networks": _networks(run),
        "curve": {"columns": columns, "points": list(run.curve), "missing": run.curve_missing},
        **sums,
        "segments": _segments(run),
        "warnings": _warnings(run, [each for found in sums.values() for each in found]),
        "unavailable": _unavailable(run),
        "repeat": _repeat(run),
    }


def _what(run: RunFolder) -> dict[str, Any]:
    """What was run, and on what."""
    spec, manifest = run.part("spec"), run.manifest
    copied = ("suite", "profile", "task", "task_options", "method_options", "method_file", "seed")
    names = {key: manifest.get(key) for key in ("dataset", "arch")}
    names |= {key: getattr(row, key) for row in run.rows[:1] for key in names}
    try:
        budget = str(Budget.parse(spec.get("budget", {})))
    except UserError:  # of another version
        budget = None
    spent: dict[str, float] = {}
    for row in run.rows:
        if row.metric.startswith("spent_"):
            unit = row.metric.removeprefix("spent_")
            spent[unit] = spent.get(unit, 0.0) + (row.value or 0.0)
    started = [segment.get("started") for segment in run.listed("segments")]
    return {
        **{key: spec.get(key) for key in (*copied, "budget", "target")},
        **names,
        "method": manifest.get("label") or spec.get("label") or spec.get("method"),
        "budget_text": budget,
        "spent": spent,
        "recipe": run.part("recipe"),
        "phases": run.phases,
        "started": started[0] if started else manifest.get("created"),
        "finished": manifest.get("finished"),
        "device": run.part("device"),
        "environment": {"git": {}, "packages": {}, **run.part("environment")},
        "versions": run.part("fingerprint", "versions"),
    }


def _standing(run: RunFolder) -> dict[str, Any]:
    """How far a run is that has not finished, why, and the command to go on."""
    failed = (row.reason for row in run.rows if row.status == FAILED and row.reason)
    saved, results = run.checkpoint, _results_folder(run)
    elsewhere = ("curve", "finished")
    return {
        "reason": str(run.manifest.get("reason") or next(failed, "")),
        "under_way": _is_alive(run),
        "checkpoint": saved and {k: v for k, v in saved.items() if k not in elsewhere},
        "log": list(run.log),
        "command": _suite_command(run, results),
        "results": None if results is None else str(results),
    }


def _quality(run: RunFolder) -> dict[str, Any]:
    """The task's metrics of every network, with the last weights and with the best."""
    values: dict[str, dict[str, dict[str, float | None]]] = {}
    for row in run.rows:
        if row.phase in QUALITY_PHASES and row.variant:
            metrics = values.setdefault(row.variant, {})
            metrics.setdefault(row.metric, {})[row.phase] = row.value
    points = [p for p in run.curve if p["phase"] == run.curve[-1]["phase"]]
    scores = [p for p in points if p.get(run.headline) is not None]
    best = max(scores, key=lambda point: point[run.headline], default=None)
    return {
        "headline": run.headline or None,
        "best_epoch": run.manifest.get("best_epoch") or (best["epoch"] if best else None),
        "last_epoch": points[-1]["epoch"] if points else None,
        "best_on_curve": best[run.headline] if best else None,
        "last_on_curve": points[-1].get(run.headline) if points else None,
        "values": values,
    }


def _networks(run: RunFolder) -> dict[str, dict[str, float]]:
    """What each deployable network costs: every measured metric of the phase ``inference``."""
    found: dict[str, dict[str, float]] = {}
    for row in run.rows:
        if row.phase == "inference" and row.status == OK and row.value is not None:
            found.setdefault(row.variant, {})[row.metric] = row.value
    return found


def _segments(run: RunFolder) -> list[dict[str, Any]]:
    """The processes that made up the run: when each began and ended, and how."""
    found = []
    for number, segment in enumerate(run.listed("segments"), 1):
        ended, seconds = segment["ended"], segment.get("seconds")
        cut = ended == "interrupted" or (ended is None and not _is_alive(run))
        found.append(
            {
                "process": number,
                "started": segment["started"],
                "ended": None if cut else ended,
                "seconds": seconds if isinstance(seconds, int | float) else None,
                "interrupted": cut,
                "resumed": number > 1,
            }
        )
    return found


def _is_alive(run: RunFolder) -> bool:
    """Whether the run's process is at work on this machine; False where it is unknown."""
    segments = run.listed("segments")
    pid = segments[-1].get("pid") if segments and not run.finished else None
    if not isinstance(pid, int) or run.state == FAILED:
        return False
    try:
        # Another process may have the number by now: a run's is a fork of the server.
        return b"benchmarks.launch.server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _warnings(run: RunFolder, sums: Iterable[Sum]) -> list[str]:
    """What should make a reader careful, a sentence each."""
    found = [] if run.verified else [f"unverified: {UNVERIFIED}"]
    if id_holds(run.manifest) is False:
        found.append("the id does not follow from the manifest: the manifest was changed")
    if run.part("environment", "git").get("dirty"):
        found.append("the code had changes that are in no commit")
    for each in sums:
        if each["verdict"] == MISSES:
            found.append(f"{each['title']}: the sum misses {each['whole_name']} ({each['why']})")
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
    for phase, batches in ((p["name"], p["batches"]) for p in run.phases if run.finished):
        in_rows, points = run.value("batches", phase), [p for p in run.curve if p["phase"] == phase]
        if in_rows is not None and in_rows != batches:
            found.append(
                f"phase {phase} has {batches} batches in the manifest, {in_rows:.0f} in rows"
            )
        if points and points[-1]["batch"] != batches:
            found.append(
                f"the curve of phase {phase} ends at batch {points[-1]['batch']} of {batches}: it "
                "was cut short or changed"
            )
    if run.finished and run.curve_missing:
        found.append(f"there is no learning curve: {run.curve_missing}")
    return found


def _unavailable(run: RunFolder) -> list[dict[str, Any]]:
    """What could not be measured, by the reason why not."""
    reasons: dict[str, dict[str, None]] = {}
    for row in run.rows:
        if row.status == UNAVAILABLE:
            phase = f" ({row.phase})" if row.phase in QUALITY_PHASES else ""
            reasons.setdefault(row.reason, {})[row.metric + phase] = None
    return [{"reason": reason, "metrics": list(names)} for reason, names in reasons.items()]


def _repeat(run: RunFolder) -> dict[str, Any]:
    """The commands that repeat the run, and what has to be as it was for equal numbers."""
    git, versions = run.part("environment", "git"), run.part("fingerprint", "versions")
    device, threads = run.part("fingerprint").get("device"), run.part("fingerprint").get("threads")
    suite = _suite_command(run, None if run.finished else _results_folder(run))
    changed = ", with changes that are in no commit" if git.get("dirty") else ""
    on_cpu = f", {threads} thread{'s' * (threads != 1)}"
    needs = [
        f"the code of commit {git['commit']}{changed}" if git.get("commit") else "",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"{device}{on_cpu if run.part('device').get('type') == 'cpu' else ''}" if device else "",
        ", ".join(f"{name} {value}" for name, value in kernels_of(run.part("device")).items()),
    ]
    return {
        "command": f"depthbench rerun {shlex.quote(str(run.folder))}",
        "bit_by_bit": repeats_exactly(run.manifest),
        "suite_command": suite,
        "suite_file_unknown": SUITE_FILE in suite.split(),
        "needs": [need for need in needs if need],
    }


def _suite_command(run: RunFolder, results: Path | None) -> str:
    """Carries out the run's suite, in ``results`` where it shall go on there."""
    spec = run.part("spec")
    options = _suite_options(spec)
    words = [SUITE_FILE] if options is None else [str(spec.get("suite")), *options]
    if spec.get("method_file"):
        words += ["--method-file", str(spec["method_file"])]
    if results is not None:
        words += ["--results", str(results)]
    return shlex.join(["depthbench", "run", *words])


def _results_folder(run: RunFolder) -> Path | None:
    """The folder of results that the run is in; None where its folder lies by itself."""
    folder = run.folder.absolute()
    if folder.parent.name != "runs":
        return None
    results, here = folder.parent.parent, Path.cwd()
    return results.relative_to(here) if results.is_relative_to(here) else results


def _suite_options(spec: Mapping[str, Any]) -> list[str] | None:
    """Options with which a built-in suite plans this run; None where none does."""
    name = spec.get("suite")
    if name not in suite_files():
        return None
    try:
        suite, wanted = load_suite(name), RunSpec.from_dict(spec)
        options = []
        if wanted.device != suite.device:
            suite = replace(suite, device=wanted.device)
            options += ["--device", wanted.device]
        if wanted.budget != suite.budget:
            suite = suite.with_budget(wanted.budget)
            amounts = wanted.budget.amounts.items()
            texts = ((k, f"{v:g}" if float(f"{v:g}") == v else repr(v)) for k, v in amounts)
            options += ["--budget", ",".join(f"{k}={v}" for k, v in texts)]
        suite = replace(suite, method_file=wanted.method_file)
        planned = [each.to_dict() for each in suite.specs()]
    except (UserError, TypeError, ValueError):  # a spec or a suite of another version
        return None
    return options if wanted.to_dict() in planned else None
