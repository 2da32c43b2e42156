"""Which run is meant, and what its folder says of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.records.row import FAILED
from benchmarks.records.verification import (
    DIGEST,
    FINISHED,
    MANIFEST,
    Record,
    read_manifest,
    read_record,
    require_own,
)
from tasks.errors import UserError, did_you_mean

_SHOWN = 5


def find_run(given: str | Path, method: str | None = None, seed: int | None = None) -> Path:
    """The folder of a run.

    Args:
        given: the folder itself, ``RESULTS/runs/RUN_ID``; or ``RESULTS/`` and a part of the name
            that no other run has, of which words may be left out (``digits-replacement-s0``); or
            ``RESULTS`` where one run alone is left.
        method: the method's label in tables, or its name.
        seed: of the run.

    Raises:
        UserError: no run is meant by it, or several are.
    """
    path = Path(given).expanduser()
    chosen = method is not None or seed is not None
    if _is_run(path) and not chosen:
        return path
    if (path / "runs").is_dir():
        known = found = _runs(path / "runs")
    else:
        known = _runs(path.parent / "runs") + _runs(path.parent)
        found = next(
            filter(None, (_called(known, pattern) for pattern in _patterns(path.name))), []
        )
    found = _chosen(found, method, seed)
    if len(found) == 1:
        return found[0]
    wanted = "".join(
        f" with --{name} {value}"
        for name, value in (("method", method), ("seed", seed))
        if value is not None
    )
    if found:
        names = [f"{run.name} ({label_of(run)})" for run in found]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise UserError(
            f"{given}{wanted} may be any of {len(names)} runs ({', '.join(names[:_SHOWN])}{more}): "
            "name one of them, or give RESULTS with --method and --seed"
        )
    near = did_you_mean(path.name, [run.name for run in known])
    if wanted:
        near = did_you_mean(method or "", {label_of(run) for run in known})
    raise UserError(
        f"there is no run {given}{wanted}{near}: name the folder of a run, RESULTS/runs/RUN_ID, or "
        "RESULTS/ and a part of its name"
    )


def label_of(run: Path) -> str:
    """The method of a run as tables call it, from its manifest; ``?`` where there is none."""
    manifest = read_manifest(run) or {}
    return str(manifest.get("label", "?"))


def _patterns(part: str) -> list[str]:
    """How a part of a name may match: as its beginning, anywhere, or word by word."""
    words = ".*-".join(map(re.escape, part.split("-")))
    return [re.escape(part), f".*{re.escape(part)}", words] if part else []


def _called(runs: list[Path], pattern: str) -> list[Path]:
    return [run for run in runs if re.match(pattern, run.name)]


def _chosen(runs: list[Path], method: str | None, seed: int | None) -> list[Path]:
    """The runs of a method and seed; a label goes before a name that several labels share."""
    if seed is not None:
        runs = [run for run in runs if _spec(run).get("seed") == seed]
    if method is None:
        return runs
    labelled = [run for run in runs if label_of(run) == method]
    return labelled or [run for run in runs if _spec(run).get("method") == method]


def _spec(run: Path) -> dict[str, Any]:
    spec = (read_manifest(run) or {}).get("spec")
    return spec if isinstance(spec, dict) else {}


def finished_record(folder: Path) -> Record:
    """The verified records of a run that has come to its end.

    Raises:
        UserError: there are none, one is missing or not what the run wrote, or the run has not
            finished.
    """
    record = read_record(folder)
    manifest = read_manifest(folder) if record is None else record.manifest
    if manifest is None or "spec" not in manifest:
        raise UserError(f"{folder} is not the folder of a run: it has no {MANIFEST} of depthbench")
    require_named(folder, manifest)
    if record is None or record.status != FINISHED:
        state = "has failed" if manifest["status"] == FAILED else "is not finished"
        raise UserError(
            f"the run {folder.name} {state}: give the command 'depthbench run' that began it once "
            "more, which resumes it"
        )
    return record


def require_named(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raise ``UserError`` if a folder among the runs of a suite is called like another run.

    A run that was copied elsewhere, or set aside, may be called anything.
    """
    if folder.absolute().parent.name == "runs" and ".damaged-" not in folder.name:
        require_own(folder, manifest, folder.absolute().name)


def finished_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of :func:`finished_record`."""
    return finished_record(folder).manifest


def _runs(folder: Path) -> list[Path]:
    """The runs in a folder, without those that were set aside."""
    with contextlib.suppress(OSError):
        return sorted(p for p in folder.iterdir() if _is_run(p) and ".damaged-" not in p.name)
    return []


def _is_run(folder: Path) -> bool:
    """One of the two is enough: where the other was lost, that is to be said of this run."""
    return (folder / MANIFEST).is_file() or (folder / DIGEST).is_file()
