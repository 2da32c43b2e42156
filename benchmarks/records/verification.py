"""The records of a run, and the digest that they are believed by.

A run's records are its manifest, its rows, its learning curve and the outcomes of test images. When
a run ends, well or not, the SHA-256 of each goes into ``digest.json``, the last file that is
written. :func:`read_record` is the one way in which an ended run is read: it compares all records
with the digest, and names the first that differs. This guards against accidents and careless
editing, not against somebody who computes the digest again.

Records without a digest are of schema 1, from before there was one: they are read, and are
unverified.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.records.files import (
    SCHEMA,
    NewerSchemaError,
    parse_json,
    read_bytes,
    read_json,
    write_json_atomic,
    write_text_atomic,
)
from benchmarks.records.row import FAILED, Row
from benchmarks.records.rows import format_rows, parse_rows
from benchmarks.records.shapes import DIGEST as DIGEST_SHAPE
from benchmarks.records.shapes import MANIFEST as MANIFEST_SHAPE
from tasks.errors import UserError

MANIFEST, ROWS, CURVE = "manifest.json", "rows.csv", "curve.csv"
OUTCOMES = "outcomes.npz"
RECORDS = (MANIFEST, ROWS, CURVE, OUTCOMES)
"""What the digest is over: logs and checkpoints are no records, no number is read from them."""
DIGEST = "digest.json"

FINISHED, RUNNING = "finished", "running"
STATUSES = (RUNNING, FAILED, FINISHED)

UNVERIFIED = "recorded before runs had digests"

REPEAT = (
    "restore it, or give the command 'depthbench run' once more, which sets the run aside and "
    "repeats it"
)
REWRITE = "give the command 'depthbench run' once more, which writes it again"


class DamagedError(UserError):
    """A record is not what was written.

    Args:
        what: the file and what is wrong with it.
        remedy: what to do about it.
    """

    def __init__(self, what: str, remedy: str = REPEAT) -> None:
        super().__init__(f"{what}: {remedy}")
        self.what = what


class UnsealedError(DamagedError):
    """A run has ended, and its digest is not there: a kill came in between, or it was removed."""


@dataclass(frozen=True)
class Record:
    """A run that finished or failed.

    Attributes:
        folder: where it lies.
        manifest: of the shape :data:`benchmarks.records.shapes.MANIFEST`.
        content: of ``rows.csv``.
        verified: whether all records were compared with the digest; False for schema 1.
    """

    folder: Path
    manifest: dict[str, Any]
    content: bytes
    verified: bool

    @property
    def status(self) -> str:
        """``finished`` or ``failed``."""
        return str(self.manifest["status"])

    def rows(self, keep: Callable[[Sequence[str]], bool] | None = None) -> list[Row]:
        """The rows of ``rows.csv``; ``keep`` as for :func:`benchmarks.records.rows.parse_rows`.

        Raises:
            UserError: it is not a file of rows; says which line.
        """
        return parse_rows(self.content, str(self.folder / ROWS), keep)


def read_record(folder: Path) -> Record | None:
    """The records of a run, verified; None where the run has not ended.

    Raises:
        DamagedError: a record is missing, changed or not what it should be; names the file.
        UnsealedError: the run has ended without its digest.
        NewerSchemaError: the records are of a schema that this version does not know.
    """
    # Text, as a path for each of thousands of files takes longer than reading it.
    contents = {name: read_bytes(f"{folder}/{name}") for name in RECORDS}
    digest = _read_digest(folder)
    if digest is not None:
        _compare(folder, contents, digest["files"])
    found = contents[MANIFEST]
    if found is None:
        return None
    manifest = _manifest(found, folder)
    if manifest["status"] == RUNNING:
        if digest is not None:
            raise DamagedError(f"{folder / MANIFEST} has the status of a run that has not ended")
        return None
    if digest is None and manifest.get("schema", 1) > 1:
        raise UnsealedError(f"{folder / DIGEST} is missing, without which nothing vouches for it")
    rows = contents[ROWS]
    if rows is None:
        raise DamagedError(f"{folder / ROWS} is missing")
    if manifest.get("rows_sha256", sha256(rows)) != sha256(rows):
        raise _changed(folder / ROWS)
    return Record(folder, manifest, rows, digest is not None)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """``manifest.json`` of a run that need not have ended, unverified; None when there is none.

    Raises:
        UserError: it cannot be read, or is no manifest; names the key.
    """
    content = read_bytes(folder / MANIFEST)
    return None if content is None else _manifest(content, folder)


def require_own(folder: Path, manifest: Mapping[str, Any], run_id: str) -> None:
    """Raise ``DamagedError`` if a folder has the manifest of another run, ended or not.

    A checkpoint lies beside it, so that the run would be resumed from the other one's weights.
    """
    named = str(manifest.get("run_id", run_id))
    if named != run_id:
        raise DamagedError(f"{folder} holds the run {named}")


def seal(folder: Path) -> None:
    """Write ``digest.json`` over the records that a folder holds."""
    contents = {name: read_bytes(folder / name) for name in RECORDS}
    files = {name: sha256(content) for name, content in contents.items() if content is not None}
    write_json_atomic(folder / DIGEST, {"schema": SCHEMA, "files": files})


def write_finished_run(folder: Path, rows: Iterable[Row], manifest: Mapping[str, Any]) -> None:
    """End a run well: its rows, its manifest, then the digest that vouches for both.

    A ``curve.csv`` and an ``outcomes.npz`` that lie in the folder are part of the records.
    ``schema`` and ``status`` are added to the manifest.
    """
    _end_run(folder, rows, manifest, FINISHED)


def write_failed_run(folder: Path, rows: Iterable[Row], manifest: Mapping[str, Any]) -> None:
    """End a run that failed; ``rows`` hold why. It is run again next time."""
    _end_run(folder, rows, manifest, FAILED)


def _end_run(folder: Path, rows: Iterable[Row], manifest: Mapping[str, Any], status: str) -> None:
    kept = {key: value for key, value in manifest.items() if key != "rows_sha256"}
    write_rows(folder / ROWS, rows)
    write_json_atomic(folder / MANIFEST, {**kept, "schema": SCHEMA, "status": status})
    seal(folder)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a file of rows."""
    write_text_atomic(path, format_rows(rows))


def sha256(content: bytes) -> str:
    """Hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _manifest(content: bytes, folder: Path) -> dict[str, Any]:
    try:
        manifest = parse_json(content, folder / MANIFEST, MANIFEST_SHAPE)
    except NewerSchemaError:
        raise
    except UserError as error:
        raise DamagedError(str(error)) from error
    status = manifest["status"]
    if status not in STATUSES:
        raise DamagedError(
            f"{folder / MANIFEST} is damaged: its status is '{status}', which is neither "
            f"{FINISHED}, {FAILED} nor {RUNNING}"
        )
    for phase in manifest.get("phases", []):
        if "steps" in phase:  # its name before results had `optimizer_steps` beside it
            phase["batches"] = phase.pop("steps")
    return manifest


def _read_digest(folder: Path) -> dict[str, Any] | None:
    path = folder / DIGEST
    try:
        digest = read_json(path, DIGEST_SHAPE)
    except NewerSchemaError:
        raise
    except UserError as error:
        raise DamagedError(str(error)) from error
    if digest is None:
        return None
    files = digest["files"]
    if not {MANIFEST, ROWS} <= files.keys() <= set(RECORDS):
        raise DamagedError(f"{path} is damaged: it does not name the records of a run")
    if not all(re.fullmatch("[0-9a-f]{64}", each) for each in files.values()):
        raise DamagedError(f"{path} is damaged: it holds something else than SHA-256 digests")
    return digest


def _compare(folder: Path, contents: Mapping[str, bytes | None], files: Mapping[str, str]) -> None:
    for name, content in contents.items():
        if content is None and name in files:
            raise DamagedError(f"{folder / name} is missing")
        if content is not None and name not in files:
            raise DamagedError(f"{folder / name} is not in {folder / DIGEST}, so it was added")
        if content is not None and sha256(content) != files[name]:
            raise _changed(folder / name)


def _changed(path: Path) -> DamagedError:
    return DamagedError(f"{path} is not the file that the run wrote")
