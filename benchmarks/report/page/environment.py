"""What the runs were made with: devices, versions, commits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from benchmarks.analysis.load import Run

if TYPE_CHECKING:
    from benchmarks.report.build import Summary

_FIRST = (
    *("torch", "torchvision", "mmengine", "mmcv", "mmcv-lite", "mmdet", "mmsegmentation"),
    *("numpy", "nvidia-ml-py"),
)
"""Packages that decide numbers; the others fold."""


def environment(summaries: Sequence[Summary]) -> str:
    """A table for each of the results; values that differ between runs say in how many."""
    parts = []
    for summary in summaries:
        if len(summaries) > 1:
            parts.append(f"<h3>{escape(summary.results.name)}</h3>")
        runs = [run for run in summary.results.runs if run.manifest]
        absent = len(summary.results.runs) - len(runs)
        if absent:
            were = "1 run has" if absent == 1 else f"{absent} runs have"
            parts.append(f"<p>{were} no manifest here.</p>")
        if not runs:
            continue
        versions = _packages(runs)
        facts = {
            "device": Counter(run.device or "unknown" for run in runs),
            "commit": Counter(_commit(_of(run)) for run in runs),
            "depthbench": Counter(str(_of(run).get("depthbench", "unknown")) for run in runs),
            "Python": Counter(str(_of(run).get("python", "unknown")) for run in runs),
            "system": Counter(str(_of(run).get("system", "unknown")) for run in runs),
            **{name: versions[name] for name in _FIRST if name in versions},
        }
        rest = {name: versions[name] for name in sorted(versions, key=str.lower)}
        parts.append(f"<dl>{_list(facts, len(runs))}</dl>")
        if rest:
            parts.append(
                f"<details><summary>all {len(rest)} packages</summary>"
                f"<dl>{_list(rest, len(runs))}</dl></details>"
            )
    return "".join(parts)


def _list(facts: Mapping[str, Counter[str]], runs: int) -> str:
    def counted(counts: Counter[str]) -> str:
        if len(counts) == 1 and counts.total() == runs:
            return next(iter(counts))
        return ", ".join(f"{value} ({n} of {runs} runs)" for value, n in sorted(counts.items()))

    return "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(counted(counts))}</dd>"
        for name, counts in facts.items()
    )


def _packages(runs: Iterable[Run]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for run in runs:
        packages = _of(run).get("packages")
        for name, version in packages.items() if isinstance(packages, dict) else ():
            found.setdefault(str(name), Counter())[str(version)] += 1
    return found


def _commit(environment: Mapping[str, Any]) -> str:
    git = environment.get("git")
    if not isinstance(git, dict) or not git.get("commit"):
        return "unknown"
    return f"{str(git['commit'])[:12]}{', with local changes' if git.get('dirty') else ''}"


def _of(run: Run) -> Mapping[str, Any]:
    found = (run.manifest or {}).get("environment")
    return found if isinstance(found, dict) else {}
