"""All that a run's folder says, as one mapping: what ``--json`` prints and the text is made of."""

from __future__ import annotations

from typing import Any

from benchmarks.budget import Budget
from benchmarks.explain.commands import SUITE_FILE, repeat_command, suite_command
from benchmarks.explain.energy_balance import energy_balances
from benchmarks.explain.memory_balance import memory_balances
from benchmarks.explain.progress import segments, standing, unavailable, warnings
from benchmarks.explain.subject import Subject
from benchmarks.explain.time_balance import time_balances
from benchmarks.manifest import kernels_of
from benchmarks.origin import id_holds, repeats_exactly
from benchmarks.records import OK, metric_info
from tasks.errors import UserError

QUALITY_PHASES = ("val", "test", "val_best", "test_best")


def explanation(run: Subject) -> dict[str, Any]:
    """The document of a run, finished or not.

    Keys: ``run``, ``run_id``, ``state``, ``what`` (task, method, budget, machine, versions),
    ``standing`` (None for a finished run), ``quality``, ``networks``, ``curve``, ``time``,
    ``energy`` and ``memory`` (lists of sums, see :class:`benchmarks.explain.balance.Balance`),
    ``segments``, ``warnings``, ``unavailable``, ``repeat``.
    """
    sums = {"time": [], "energy": [], "memory": []} if not run.finished else _sums(run)
    return {
        "run": str(run.folder),
        "run_id": run.run_id,
        "state": run.state,
        "id_holds": id_holds(run.manifest),
        "what": what(run),
        "standing": standing(run),
        "quality": quality(run),
        "networks": networks(run),
        "curve": curve(run),
        **{kind: [balance.as_dict() for balance in found] for kind, found in sums.items()},
        "segments": segments(run),
        "warnings": warnings(run, [balance for found in sums.values() for balance in found]),
        "unavailable": unavailable(run),
        "repeat": repeat(run),
    }


def what(run: Subject) -> dict[str, Any]:
    """What was run, by whom it was run, and on what."""
    spec, environment = run.part("spec"), run.part("environment")
    first = run.rows[0] if run.rows else None
    started = run.listed("segments")
    return {
        "suite": spec.get("suite"),
        "profile": spec.get("profile"),
        "task": spec.get("task"),
        "task_options": spec.get("task_options"),
        "dataset": first.dataset if first else run.manifest.get("dataset"),
        "arch": first.arch if first else run.manifest.get("arch"),
        "method": run.manifest.get("label") or spec.get("label") or spec.get("method"),
        "method_options": spec.get("method_options"),
        "method_file": spec.get("method_file"),
        "seed": spec.get("seed"),
        "budget": spec.get("budget"),
        "budget_text": _budget(spec.get("budget")),
        "spent": _spent(run),
        "target": spec.get("target"),
        "recipe": dict(run.part("recipe")),
        "phases": [{"name": name, "steps": steps} for name, steps in run.phases],
        "started": started[0].get("started") if started else run.manifest.get("created"),
        "finished": run.manifest.get("finished"),
        "device": dict(run.part("device")),
        "git": dict(run.part("environment", "git")),
        "depthbench": environment.get("depthbench"),
        "python": environment.get("python"),
        "system": environment.get("system"),
        "versions": dict(run.part("fingerprint", "versions")),
        "packages": dict(run.part("environment", "packages")),
    }


def quality(run: Subject) -> dict[str, Any]:
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


def networks(run: Subject) -> dict[str, dict[str, float]]:
    """What each deployable network costs: every measured metric of the phase ``inference``."""
    found: dict[str, dict[str, float]] = {}
    for row in run.rows:
        if row.phase == "inference" and row.status == OK and row.value is not None:
            found.setdefault(row.variant, {})[row.metric] = row.value
    return found


def curve(run: Subject) -> dict[str, Any]:
    """The validations, or why there are none."""
    columns = list(dict.fromkeys(key for point in run.curve for key in point))
    return {"columns": columns, "points": list(run.curve), "missing": run.curve_missing}


def repeat(run: Subject) -> dict[str, Any]:
    """The commands that repeat the run, and what has to be as it was for equal numbers."""
    git, suite = run.part("environment", "git"), suite_command(run, elsewhere=run.finished)
    needs = []
    if git.get("commit"):
        changed = ", with changes that are in no commit" if git.get("dirty") else ""
        needs.append(f"the code of commit {git['commit']}{changed}")
    if run.part("fingerprint", "versions"):
        versions = run.part("fingerprint", "versions").items()
        needs.append(", ".join(f"{name} {version}" for name, version in versions))
    device, threads = run.part("fingerprint").get("device"), run.part("fingerprint").get("threads")
    if device:
        on_cpu = run.part("device").get("type") == "cpu"
        needs.append(f"{device}, {threads} thread{'s' * (threads != 1)}" if on_cpu else str(device))
    kernels = kernels_of(run.part("device"))
    if kernels:
        needs.append(", ".join(f"{name} {value}" for name, value in kernels.items()))
    return {
        "command": repeat_command(run),
        "bit_by_bit": repeats_exactly(run.manifest),
        "suite_command": suite,
        "suite_file_unknown": SUITE_FILE in suite.split(),
        "needs": needs,
    }


def _sums(run: Subject) -> dict[str, list[Any]]:
    return {
        "time": time_balances(run),
        "energy": energy_balances(run),
        "memory": memory_balances(run),
    }


def _budget(budget: Any) -> str | None:
    try:
        return str(Budget.parse(budget))
    except UserError:  # of another version, or damaged
        return None


def _spent(run: Subject) -> dict[str, float]:
    """What all phases spent, by currency."""
    found: dict[str, float] = {}
    for row in run.rows:
        if row.metric.startswith("spent_") and row.value is not None:
            currency = row.metric.removeprefix("spent_")
            found[currency] = found.get(currency, 0.0) + row.value
    return found


def shown_unit(metric: str) -> tuple[str, float]:
    """The unit that tables show a metric in, and how many base units it holds."""
    info = metric_info(metric)
    return info.shown or info.unit, info.scale
