"""Files that are whole or not there, and what a full disk is called."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.errors import UserError


def write_text_atomic(path: Path, text: str) -> None:
    """Write a file so that readers see the old one or all of the new one, even after a crash.

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


def write_json_atomic(path: Path, value: Any) -> None:
    """:func:`write_text_atomic` for a value as JSON; what JSON has no form for becomes text.

    A manifest comes at the end of a run: nothing odd in it may cost the results.
    """
    write_text_atomic(path, json.dumps(value, indent=2, default=str) + "\n")


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
            "and the same command goes on from here once that is put right"
        ) from error


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file; None when there is no file.

    Raises:
        UserError: it cannot be read, is cut short, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is cut short or damaged: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a file of depthbench")
    return value
