"""Which files of a folder are data: links are followed, hidden files are left out."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.errors import UserError

PICTURES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Suffixes of the pictures that are read, in any case."""
_OTHER_PICTURES = (
    *(".apng", ".avif", ".cr2", ".dcm", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".j2k"),
    *(".jfif", ".jp2", ".jpe", ".jxl", ".nef", ".pbm", ".pnm", ".psd", ".raw", ".svg", ".tga"),
)
_LEFT_BY_SYSTEMS = ("__macosx", "@eadir", "thumbs.db", "desktop.ini")

log = logging.getLogger("depthbench")


@functools.cache
def warn_once(text: str) -> None:
    """Log a warning, once in this process: a plan checks the same data for each method."""
    log.warning("%s", text)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's: ``.DS_Store``, ``._a.jpg``, ``__MACOSX``."""
    return name.startswith(".") or name.lower() in _LEFT_BY_SYSTEMS


def folders(folder: Path) -> list[str]:
    """Names of the visible folders in a folder, linked ones included, sorted.

    Raises:
        UserError: as :func:`files`; or pictures lie beside the folders.
    """
    entries = _entries(folder)
    for entry in entries:
        if not entry.is_dir() and entry.name.lower().endswith(PICTURES):
            raise UserError(
                f"{shown(entry.path)} lies in none of the folders of {shown(folder)}: move it into "
                "one, or remove it"
            )
    return [entry.name for entry in entries if entry.is_dir()]


def files(folder: Path, suffix: str | Sequence[str]) -> tuple[list[str], list[str]]:
    """Visible files under ``folder``, those in linked folders included, relative to it and sorted.

    Args:
        folder: where to look.
        suffix: how the names of wanted files end, in any case.

    Returns:
        The wanted files, and all others.

    Raises:
        UserError: a folder cannot be listed or contains itself, a link is broken, or a name is not
            UTF-8.
    """
    suffixes = tuple(s.lower() for s in ((suffix,) if isinstance(suffix, str) else suffix))
    wanted: list[str] = []
    others: list[str] = []
    for name in _walk(folder, "", ()):
        (wanted if name.lower().endswith(suffixes) else others).append(name)
    return sorted(wanted), sorted(others)


def pictures(folder: Path, suffix: str | Sequence[str] = PICTURES) -> list[str]:
    """The pictures under ``folder`` as :func:`files` finds them; a warning names what is left out.

    Raises:
        UserError: as :func:`files`, or a picture is of a format that is not read.
    """
    found, others = files(folder, suffix)
    for name in others:
        if name.lower().endswith(_OTHER_PICTURES):
            raise UserError(
                f"{shown(folder / name)} is of a format that is not read: convert it to one of "
                f"{', '.join(PICTURES)}, or remove it"
            )
    if others:
        warn_once(
            f"warning: {len(others)} of {len(found) + len(others)} files in {shown(folder)} are "
            f"left out, as their names do not end as those of pictures do: {shown(others[0])}"
        )
    return found


def shown(path: str | os.PathLike[str]) -> str:
    """A path that can be printed, bytes that are not UTF-8 escaped."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode()


def check_name(path: Path) -> None:
    """Refuse a name that is not UTF-8.

    Raises:
        UserError: it is not.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"the name of {shown(path)} is not UTF-8: rename it") from error


def _walk(folder: Path, inside: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    status = folder.stat()
    here = status.st_dev, status.st_ino
    if here in above:
        raise UserError(f"{shown(folder)} links to a folder that contains it: remove the link")
    for entry in _entries(folder):
        name = f"{inside}{entry.name}"
        if entry.is_dir():
            yield from _walk(folder / entry.name, f"{name}/", (*above, here))
        else:
            yield name


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """The visible entries of a folder, sorted by name."""
    try:
        with os.scandir(folder) as found:
            entries = sorted((e for e in found if not is_hidden(e.name)), key=lambda e: e.name)
    except OSError as error:
        raise UserError(
            f"{shown(folder)} cannot be listed ({error.strerror}): make it readable"
        ) from error
    for entry in entries:
        path = folder / entry.name
        check_name(path)
        if entry.is_symlink() and not path.exists():
            raise UserError(f"{path} is a link to nothing: remove it, or restore its target")
    return entries
