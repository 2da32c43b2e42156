"""The cache of what files hold, one file for each folder of data, in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import PIL

from tasks.files.decoding import RULES
from tasks.files.listing import warn_once

Key = tuple[str, str]
"""How a file was read (``file``, ``picture`` or ``mask``), and its name."""


class Stamp(NamedTuple):
    """What changes with a file's content: bytes, nanoseconds of two changes, and inode."""

    size: int
    modified: int
    changed: int
    """When the inode changed last, which programs cannot set."""
    inode: int


@dataclass(frozen=True)
class Content:
    """What a file holds."""

    sha256: str
    size: tuple[int, int] = (0, 0)
    """Width and height in pixels as loaded; of a file that is read as bytes (0, 0)."""
    labels: frozenset[int] = frozenset()
    """Of a mask."""


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/depthbench``, or ``~/.cache/depthbench``."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "depthbench"


class Store:
    """What is known of the files of a folder.

    A file of lines behind a checksum of them all: one that is damaged, or that another version
    wrote, counts as empty. It is replaced as a whole, so that readers never see half of it; of two
    writers at once one may lose its findings, which are then read again.

    Args:
        folder: of the data.
    """

    def __init__(self, folder: Path) -> None:
        name = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:32]
        self._path = cache_folder() / "contents" / f"{name}.jsonl"

    def load(self) -> dict[Key, tuple[Stamp, Content]]:
        """All that is known."""
        try:
            head, _, body = self._path.read_bytes().partition(b"\n")
            if json.loads(head) != _head(body):
                return {}
            return dict(_parsed(json.loads(line)) for line in body.splitlines())
        except (OSError, ValueError, TypeError):
            return {}

    def add(self, found: Mapping[Key, tuple[Stamp, Content]]) -> None:
        """Remember more; a warning says where that is not possible."""
        everything = {**self.load(), **found}
        lines = [
            json.dumps([*key, *stamp, known.sha256, *known.size, sorted(known.labels)])
            for key, (stamp, known) in everything.items()
        ]
        body = "\n".join(lines).encode()
        draft = ""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, draft = tempfile.mkstemp(dir=self._path.parent, prefix=".draft-")
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(_head(body)).encode() + b"\n" + body)
            os.replace(draft, self._path)
        except OSError as error:
            if draft:
                Path(draft).unlink(missing_ok=True)
            warn_once(
                f"warning: checksums of data cannot be kept in {self._path.parent} "
                f"({error.strerror}), so that it is read again each time: set XDG_CACHE_HOME to a "
                "folder that can be written to"
            )


def _head(body: bytes) -> dict[str, str]:
    rules = f"{RULES}, Pillow {PIL.__version__}"
    return {"rules": rules, "sha256": hashlib.sha256(body).hexdigest()}


def _parsed(line: Any) -> tuple[Key, tuple[Stamp, Content]]:
    kind, name, size, modified, changed, inode, sha256, width, height, labels = line
    content = Content(sha256, (width, height), frozenset(labels))
    return (kind, name), (Stamp(size, modified, changed, inode), content)
