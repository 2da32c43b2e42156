"""What files hold, read once: checksums, sizes of pictures, labels of masks.

Data is identified by its content, and large data is not read again for every run: what was found is
kept in the user's cache folder, by path, size, times of change and inode. A file that is given
other content by a program that restores size, inode and both times (none of the usual ones can set
the time of the inode's change) is not noticed.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

from tasks.errors import UserError
from tasks.files.cache import Content, Key, Stamp, Store
from tasks.files.decoding import labels_of_mask, size_of_picture
from tasks.files.listing import check_name, shown, warn_once

SETTLED_NS = 2_000_000_000
"""Nanoseconds since a file's last change after which its times tell a further change: file systems
count time in steps of up to two seconds."""
_AT_ONCE = 1024
_SILENT = 20.0
"""Seconds before a reader of much data says what it does."""


def contents(folder: Path, names: Sequence[str], kind: str = "file") -> dict[str, Content]:
    """What each file holds, from the cache where it is unchanged since it was read.

    Args:
        folder: what the names start at.
        names: files, each once.
        kind: ``file`` for bytes; ``picture`` or ``mask`` for one that is decoded as such.

    Returns:
        By name, in the order given.

    Raises:
        UserError: names the first file that is absent, unreadable, empty or damaged, and counts
            the others.
    """
    store = Store(folder)
    known = store.load()
    found: dict[str, Content] = {}
    fresh: dict[Key, tuple[Stamp, Content]] = {}
    faults: dict[str, UserError] = {}
    started = time.monotonic()

    def look(name: str) -> tuple[str, Stamp | None, Content | UserError]:
        try:
            stamp = _stamp(folder / name)
            kept = known.get((kind, name))
            if kept is not None and kept[0] == stamp:
                return name, None, kept[1]
            content = _READERS[kind](folder / name)
            settled = time.time_ns() - max(stamp.modified, stamp.changed) > SETTLED_NS
            same = settled and _stamp(folder / name) == stamp
            return name, stamp if same else None, content
        except UserError as error:
            return name, None, error

    rest = iter(names)
    try:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as readers:
            while some := list(islice(rest, _AT_ONCE)):
                for name, stamp, content in readers.map(look, some):
                    if isinstance(content, UserError):
                        faults[name] = content
                        continue
                    found[name] = content
                    if stamp is not None:
                        fresh[kind, name] = (stamp, content)
                if time.monotonic() - started > _SILENT and len(found) < len(names):
                    warn_once(f"reading {len(names)} files in {shown(folder)}, which is done once")
    finally:
        if fresh:
            store.add(fresh)
    if faults:
        raise _summed(list(faults.values()), len(names))
    return found


def digest_of(entries: Sequence[Sequence[str | int]]) -> str:
    """The sha256 of lines of names, checksums and labels."""
    return hashlib.sha256(repr([tuple(entry) for entry in entries]).encode()).hexdigest()


def tell_shared(dataset: str, splits: Mapping[str, Mapping[str, str]]) -> None:
    """Warn of pictures that two splits hold.

    Args:
        dataset: its name.
        splits: the checksum of every picture by its path, by split.
    """
    names = list(splits)
    for place, first in enumerate(names):
        by_content = {sha256: path for path, sha256 in splits[first].items()}
        for second in names[place + 1 :]:
            both = [(p, by_content[s]) for p, s in splits[second].items() if s in by_content]
            if both:
                warn_once(
                    f"warning: {len(both)} of {len(splits[second])} pictures of the {second} split "
                    f"of {dataset} are in the {first} split too: {both[0][0]} is {both[0][1]}"
                )


def _stamp(path: Path) -> Stamp:
    check_name(path)
    try:
        status = path.stat()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise UserError(
                f"{path} is a link to nothing: remove it, or restore its target"
            ) from error
        raise UserError(f"{path} does not exist: restore it, or remove what names it") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): make it readable") from error
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is not a file: replace or remove it")
    if not status.st_size:
        raise UserError(f"{path} is empty: replace or remove it")
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _hashed(path: Path) -> Content:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise _unreadable(path, error) from error
    return Content(digest.hexdigest())


def _bytes(path: Path) -> tuple[bytes, Content]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    return data, Content(hashlib.sha256(data).hexdigest())


def _picture(path: Path) -> Content:
    data, content = _bytes(path)
    return replace(content, size=size_of_picture(path, data))


def _mask(path: Path) -> Content:
    data, content = _bytes(path)
    size, labels = labels_of_mask(path, data)
    return replace(content, size=size, labels=labels)


_READERS: Mapping[str, Callable[[Path], Content]] = {
    "file": _hashed,
    "picture": _picture,
    "mask": _mask,
}


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be read ({error.strerror}): make it readable")


def _summed(faults: Sequence[UserError], of: int) -> UserError:
    """The first fault, with the number of all."""
    more = f"; so it is with {len(faults)} of {of} files" if len(faults) > 1 else ""
    return UserError(f"{faults[0]}{more}")
