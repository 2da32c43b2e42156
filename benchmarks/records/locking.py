"""One process at a time in a directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.records.files import disk_errors
from tasks.errors import UserError


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a directory for this process; the lock goes with the process, however it ends.

    Args:
        folder: made if absent.

    Raises:
        UserError: another process holds it, or the directory cannot be written.
    """
    with disk_errors(folder / ".lock"):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise UserError(
                    f"the file system of {folder} has no locks ({error.strerror}): "
                    "choose a local folder with --results"
                ) from error
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            raise UserError(
                f"{folder} is in use by another depthbench (process {holder or 'unknown'}): "
                "wait for it, or choose another folder with --results"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)
