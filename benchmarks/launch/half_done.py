"""Runs that were begun and not finished, and why one of them is not resumed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.records.identity.origin import as_recorded, changes, named_changes
from benchmarks.records.identity.run_id import deciding
from benchmarks.records.store import Store
from benchmarks.records.verification import RUNNING, read_manifest
from tasks.errors import UserError


def started_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run that may not have ended; None where there is none to be read."""
    try:
        return read_manifest(folder)
    except UserError:  # a killed run may leave anything; the plan tells the rest
        return None


def unfinished_runs(store: Store) -> list[dict[str, Any]]:
    """The manifests of the unfinished runs of a results directory, oldest first."""
    found = []
    for file in (store.path / "runs").glob("*/manifest.json"):
        manifest = started_manifest(file.parent)
        if manifest and manifest.get("status") == RUNNING and _is_mapping(manifest, "spec"):
            found.append(manifest)
    return sorted(found, key=lambda manifest: str(manifest.get("created", "")))


def begun_under_another_id(
    planned: Mapping[str, Any], unfinished: Iterable[Mapping[str, Any]]
) -> str:
    """Why a run that was begun earlier starts again, as one sentence; empty if none was.

    Args:
        planned: the run, an item of ``planning.plan_runs``.
        unfinished: of :func:`unfinished_runs`.
    """
    spec, note = deciding(planned["spec"]), ""
    for manifest in unfinished:
        if manifest.get("run_id") == planned["run_id"]:
            return ""
        if deciding(manifest["spec"]) == spec:
            recorded = manifest["fingerprint"] if _is_mapping(manifest, "fingerprint") else {}
            changed = named_changes(changes(recorded, as_recorded(planned["fingerprint"])))
            if changed:
                begun = f"{manifest.get('run_id')} was begun before a change"
                note = f"starts again: {begun} of {', '.join(changed)}"
    return note


def _is_mapping(manifest: Mapping[str, Any], key: str) -> bool:
    return isinstance(manifest.get(key), dict)
