"""A results folder copied to be kept: the records of its runs, no logs or checkpoints."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.analysis.load import Results, read_folder
from benchmarks.records.files import disk_errors, write_json_atomic, write_text_atomic
from benchmarks.records.plan import (
    PLAN,
    REPRODUCTION,
    Plan,
    PlannedRun,
    check_reproduction,
    vouch_for,
    write_plan,
)
from benchmarks.records.verification import (
    DIGEST,
    MANIFEST,
    RECORDS,
    ROWS,
    UNVERIFIED,
    read_manifest,
    seal,
)
from benchmarks.report.published.private import Redactor
from tasks.errors import UserError

OF_SUITE = (PLAN, ROWS, *REPRODUCTION)
OF_RUN = (*RECORDS, DIGEST)


def copy_results(source: Path, published: Path, name: str = "") -> Path:
    """Copy the finished and failed runs of a results folder into ``published/NAME``.

    What was there under this name gives way as a whole, and only once the copy is complete.

    Args:
        source: what ``depthbench run`` or ``depthbench reproduce`` has written.
        published: the folder of all published results.
        name: of the new folder; the suite's, or that of ``source`` where there is no plan.

    Returns:
        The new folder.

    Raises:
        UserError: ``source`` is damaged, unverified or not finished, or the name belongs to another
            suite.
    """
    results = read_folder(source)
    check_reproduction(Path(source), results.plan)
    if results.unfinished or not results.runs:
        left = results.unfinished or "all"
        raise UserError(
            f"{source} has runs that are not finished ({left}): let 'depthbench run' end first"
        )
    unverified = [run.run_id for run in results.runs if not run.verified]
    if unverified:
        raise UserError(
            f"{source} has {len(unverified)} of {len(results.runs)} runs that nothing vouches for "
            f"({UNVERIFIED}): run the suite into a new folder, and publish that"
        )
    target = published / (name or (results.suite if results.plan else Path(source).resolve().name))
    if target.parent != published or target.name.startswith("."):
        raise UserError(f"'{name}' cannot be a folder's name: choose letters, digits and '-'")
    _require_same_suite(target, results)
    new, old = (target.with_name(f".{target.name}.{word}") for word in ("new", "old"))
    with disk_errors(target):
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        for file, place in _files(Path(source), results):
            (new / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, new / place)
        take_out_private(new, Redactor())
        if target.exists():
            os.replace(target, old)
        os.replace(new, target)
        shutil.rmtree(old, ignore_errors=True)
    return target


def take_out_private(folder: Path, redactor: Redactor) -> list[Path]:
    """Take secrets and private names out of a copy of results, in place.

    The manifest of a run whose records change says so (``redacted``), and digests are made again.

    Returns:
        The files that were changed.
    """
    changed = [path for path in sorted(folder.rglob("*.*")) if _redact(path, redactor)]
    for run in {path.parent for path in changed if path.name in RECORDS and path.parent != folder}:
        manifest = read_manifest(run)
        if manifest is not None:
            write_json_atomic(run / MANIFEST, {**manifest, "redacted": True})
            seal(run)
    if any(path.parent == folder for path in changed):
        vouch_for(folder, [folder / name for name in REPRODUCTION if (folder / name).exists()])
    return changed


def _redact(path: Path, redactor: Redactor) -> bool:
    if path.suffix not in (".json", ".csv", ".md") or path.name == DIGEST:
        return False
    before = path.read_text(encoding="utf-8")
    after = redactor.text(before)
    if after == before:
        return False
    if path.name == PLAN:
        plan = {key: value for key, value in json.loads(after).items() if key != "sha256"}
        runs = tuple(PlannedRun(**run) for run in plan.pop("runs"))
        write_plan(path.parent, Plan(**plan, runs=runs))
    else:
        write_text_atomic(path, after)
    return True


def is_published(folder: Path) -> bool:
    """Whether a folder of ``published`` holds results, whole or not."""
    return any((folder / name).exists() for name in (PLAN, ROWS, "runs"))


def folders_named(results: Results) -> Iterator[str]:
    """Sentences on folders of this machine that manifests tell, for they become public."""
    for run in results.runs:
        spec = (run.manifest or {}).get("spec")
        for path in dict.fromkeys(_absolute(spec)):
            yield f"the manifest of {run.run_id} names {path}, a path of this machine"


def _absolute(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _absolute(each)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            yield from _absolute(each)
    elif isinstance(value, str) and value.startswith(("/", "~")):
        yield value


def _require_same_suite(target: Path, results: Results) -> None:
    if not is_published(target):
        return
    there = read_folder(target)
    if there.suite != results.suite:
        raise UserError(
            f"{target} holds the suite '{there.suite}', not '{results.suite}': give another --name"
        )


def _files(source: Path, results: Results) -> Iterator[tuple[Path, Path]]:
    """Files to copy, with their places in the copy."""
    for name in OF_SUITE:
        if (source / name).is_file():
            yield source / name, Path(name)
    for run in {run.run_id: run for run in results.runs}.values():
        for name in OF_RUN:
            if (run.folder / name).is_file():
                yield run.folder / name, Path("runs", run.run_id, name)
