"""A finished run's trained model, rebuilt from what its folder holds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.model import BaseModel

from benchmarks.engine.building import Built, build_run, prepared_model
from benchmarks.engine.fingerprint import fingerprint
from benchmarks.engine.session import TrainingSession
from benchmarks.meters.session import RunMeters
from benchmarks.records.identity.origin import CODE, DATA, as_recorded, changes, named_changes
from benchmarks.records.run_folder import finished_manifest
from benchmarks.spec import RunSpec
from tasks.errors import UserError
from tasks.files.checkpoints import load_plain

log = logging.getLogger("depthbench")


def trained_model(
    folder: str | Path, note: Callable[[str], None] = log.warning, device: str | None = None
) -> tuple[Built, BaseModel]:
    """Rebuild a finished run and give its model the weights that training ended with.

    The model is drawn and prepared as in the run, and the method's phases are gone through with
    their recorded results, so that whatever they do to the model is done again. Nothing is
    trained, and nothing is written. It is the model whose metrics are the rows of the phases
    ``val`` and ``test``.

    Args:
        folder: of the run, see :func:`benchmarks.records.run_folder.find_run`.
        note: is called when code or data are not those that the run had, though its weights fit.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` in place of the run's.

    Raises:
        UserError: the run is not finished, has no whole checkpoint, or cannot be built any more:
            its data are gone, or its weights do not fit what the code builds now.
    """
    folder = Path(folder)
    manifest = finished_manifest(folder)
    check_checkpoint(folder, manifest)
    spec = RunSpec.from_dict(manifest["spec"])
    built = build_run(spec if device is None else replace(spec, device=device))
    now = as_recorded(fingerprint(built))
    differing = [
        change
        for change in changes(manifest.get("fingerprint", {}), now)
        if change.kind in (CODE, DATA)
    ]
    try:
        model = prepared_model(built, note=lambda text: None)
        _replay(built, model, folder, manifest)
    except Exception as error:  # whatever code that is not the run's makes of its records
        problem = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"the weights of {folder.name} do not fit the model that is built now, as the code or "
            f"the data changed since it was trained: train it again, or go back to "
            f"{_origin(manifest)} ({problem[:200]})"
        ) from error
    if differing:
        note(f"since {folder.name} was trained, {_listed(named_changes(differing))} changed")
    return built, model


def check_checkpoint(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raise ``UserError`` unless the folder holds the checkpoint of the end of its training."""
    path = folder / "checkpoints" / "latest.pth"
    if not path.is_file():
        raise UserError(
            f"{folder} has no checkpoint, as results that are published have none: run its suite "
            "to train the model here"
        )
    again = f"delete {folder} and run its suite again"
    try:
        saved = load_plain(path, mmap=True)
        finished = [(phase["name"], phase["batches"]) for phase in saved["depthbench"]["finished"]]
    except Exception as error:
        raise UserError(f"{path} is damaged and cannot be read: {again}") from error
    recorded = [(phase["name"], phase["batches"]) for phase in manifest["phases"]]
    if not saved.get("phase_done") or finished != recorded:
        raise UserError(f"{path} is not of the end of the run's training: {again}")


def _replay(built: Built, model: BaseModel, folder: Path, manifest: Mapping[str, Any]) -> None:
    """Go through the phases of ``manifest``; the budget ends with them, so none is trained."""
    session = TrainingSession(
        built.task,
        built.method,
        model,
        built.recipe,
        sum(phase["batches"] for phase in manifest["phases"]),
        built.spec.seed,
        built.device,
        RunMeters(built.device),
        folder,
        built.spec.validate_every,
        report=lambda event: None,
    )
    session.run()


def _listed(parts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _origin(manifest: Mapping[str, Any]) -> str:
    commit = manifest.get("environment", {}).get("git", {}).get("commit")
    return f"commit {commit}" if commit else "the code and data that it had"
