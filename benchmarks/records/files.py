"""Files that are whole or not there, what a full disk is called, and JSON that is read strictly."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.records.shapes import Shape, misfit
from tasks.errors import UserError

SCHEMA = 2
"""Of results folders and runs. 1: no digests, and no ``schema`` in ``plan.json`` and manifests."""

_DEEPEST = 64
"""Levels that JSON may have; what is written here has a dozen."""
_DIGITS = 20
"""Characters of the longest whole number, a signed one of 64 bits."""
_ABANDONED_SECONDS = 60.0
"""No write of a file takes that long."""


class NewerSchemaError(UserError):
    """A newer depthbench has written this."""


def write_text_atomic(path: Path, text: str) -> None:
    """Write a file so that readers see the old one or all of the new one, even after a crash.

    What earlier calls have left that were killed is removed.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    remove_temporaries(path.parent, (path.name,), _ABANDONED_SECONDS)


def json_text(value: Any) -> str:
    """A value as JSON; what JSON has no form for, infinite numbers among it, becomes text.

    A manifest comes at the end of a run: nothing odd in it may cost the results.
    """
    try:
        return json.dumps(value, indent=2, default=str, allow_nan=False) + "\n"
    except (TypeError, ValueError):
        return json.dumps(_plain(value), indent=2, default=str) + "\n"


def write_json_atomic(path: Path, value: Any) -> None:
    """:func:`write_text_atomic` of :func:`json_text`."""
    write_text_atomic(path, json_text(value))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def remove_temporaries(folder: Path, names: Iterable[str], older: float = 0.0) -> None:
    """Remove what killed calls of :func:`write_text_atomic` have left of files with these names.

    Args:
        folder: where they are; it need not be there.
        names: of the files that were to be written.
        older: than how many seconds; 0 is for who keeps everybody else from writing them.
    """
    pattern = re.compile(rf"\.(?:{'|'.join(map(re.escape, names))})\.[0-9a-f]{{8}}")
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            if pattern.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    if not older or time.time() - path.stat().st_mtime > older:
                        path.unlink()


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the system says about writing ``path`` into a ``UserError``."""
    try:
        yield
    except OSError as error:
        why = (
            "the disk is full"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else f"the system says: {error.strerror or error}"
        )
        raise UserError(
            f"cannot write {path}: {why}; nothing measured so far is lost, "
            "and the same command resumes once that is put right"
        ) from error


def read_bytes(path: str | Path) -> bytes | None:
    """The content of a file; None when there is no file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}; make it readable, or restore it"
        ) from error


def read_json(path: Path, shape: Shape) -> dict[str, Any] | None:
    """The mapping in a JSON file; None when there is no file.

    Raises:
        UserError: as :func:`parse_json`, or the file cannot be read.
    """
    content = read_bytes(path)
    return None if content is None else parse_json(content, path, shape)


def parse_json(content: bytes, path: Path, shape: Shape) -> dict[str, Any]:
    """The mapping that a JSON file holds.

    Args:
        content: of the file.
        path: names the file in errors.
        shape: of the mapping, see :mod:`benchmarks.records.shapes`.

    Raises:
        NewerSchemaError: its ``schema`` is not known to this version.
        UserError: it is cut short, not JSON, or not of that shape; names the file and the key.
    """
    try:
        text = content.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=_int,
            parse_float=_float,
            parse_constant=_float,
        )
        _require_plain(text, value)
    except RecursionError as error:
        raise UserError(f"{path} is damaged: it is nested too deeply") from error
    except ValueError as error:
        raise UserError(f"{path} is cut short or damaged: {error}") from error
    schema = value.get("schema") if isinstance(value, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise NewerSchemaError(
            f"{path} is of schema {schema}, and this version of depthbench reads schemas up to "
            f"{SCHEMA}: use the version that wrote it, or a newer one"
        )
    wrong = misfit(value, shape)
    if wrong:
        raise UserError(f"{path} is damaged: {wrong}")
    return dict(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"duplicate key '{twice}'")
    return found


def _int(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"the number {text[:_DIGITS]}... is too large")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:_DIGITS]} is not a finite number")
    return value


def _require_plain(text: str, value: Any) -> None:
    """Refuse what Python reads and cannot write again: lone surrogates, great depth."""
    if "\\ud" in text or "\\uD" in text:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    if text.count("{") + text.count("[") > _DEEPEST:
        level, depth = [value], 0
        while level:
            depth += 1
            if depth > _DEEPEST:
                raise RecursionError
            level = [
                item
                for each in level
                if isinstance(each, dict | list)
                for item in (each.values() if isinstance(each, dict) else each)
            ]
