"""Which module an import would find, and the version of what provides it; nothing is imported.

A distribution is not looked up by its own name: forks keep the import name of what they replace,
so the question is which installed distribution the file of the module belongs to.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.machinery
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

STACK = ("torch", "torchvision", "mmengine", "mmcv", "mmdet", "mmseg", "numpy")
"""Modules that count by the distribution and the version that provide them, not by their files."""
ABSENT = "absent"

_INSTALLED_LATER = 2.0
"""Seconds by which a file may be younger than the record of its installation."""


def find_module(name: str) -> ModuleSpec | None:
    """The top-level module that ``import name`` finds in a fresh process; None without one."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        found: ModuleSpec | None = find(name, None) if find else None
        if found is not None:
            return found
    return None


def module_folders(spec: ModuleSpec) -> list[Path]:
    """The folders of a package; none for a module that is a single file."""
    return [Path(folder) for folder in spec.submodule_search_locations or ()]


def stack_version(name: str) -> str:
    """``2.14.1``; ``onedl-mmengine 0.10.12`` where another distribution provides the module.

    Files that were changed since they were installed add a hash, and a module that belongs to no
    installed distribution is a hash of its files.
    """
    spec = find_module(name)
    if spec is None:
        return ABSENT
    found = owners(name, spec)
    if len(found) != 1:
        # None, or several over each other: what counts is what is there.
        names = " + ".join(each.shown(name) for each in found)
        return f"{names} files {_bytes_digest(spec)}".strip()
    return " ".join(filter(None, [found[0].shown(name), found[0].changes()]))


def package_version(name: str) -> str | None:
    """``pillow 12.1 (4f0c1d...)``: version and contents of an installed distribution.

    None where the module is not there or belongs to none: then its files are what counts.
    """
    spec = find_module(name)
    found = owners(name, spec) if spec is not None else []
    if not found:
        return None
    return " + ".join(f"{each.shown(name)} ({each.contents()})" for each in found)


def named_version(name: str) -> str:
    """The version of a module, or of a distribution if no module is called so."""
    if find_module(name) is not None:
        return stack_version(name)
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return ABSENT


@dataclass(frozen=True)
class Owner:
    """A distribution that holds the files of a module."""

    name: str
    version: str
    record: Path
    """Its list of installed files."""

    def shown(self, module: str) -> str:
        """The version, after the distribution's name where that is not the module's."""
        same = _normal(self.name) == _normal(module)
        return self.version if same else f"{self.name} {self.version}"

    def contents(self) -> str:
        """Digits of a hash of the installed code, as it is now."""
        lines = {path: digest for path, digest, _ in self._code()}
        return _short(
            "\n".join(f"{p} {d}" for p, d in sorted({**lines, **self._changed()}.items()))
        )

    def changes(self) -> str:
        """``changed 1a2b3c4d`` if files are not those that were installed, else empty."""
        changed = self._changed()
        return f"changed {_short(_lines(changed))}" if changed else ""

    def _changed(self) -> dict[str, str]:
        """Path to digest of the files that are not as they were installed."""
        installed = self.record.stat().st_mtime + _INSTALLED_LATER
        changed = {}
        for path, digest, file in self._code():
            try:
                if os.stat(file).st_mtime <= installed:
                    continue
                now = hashlib.sha256(Path(file).read_bytes()).digest()
            except OSError:
                changed[path] = "missing"
                continue
            found = base64.urlsafe_b64encode(now).decode("ascii").rstrip("=")
            if found != digest:
                changed[path] = found
        return changed

    def _code(self) -> Iterator[tuple[str, str, str]]:
        """Path as recorded, SHA-256 as recorded, and file, of all code that was installed."""
        site = str(self.record.parent.parent)
        for path, digest in _recorded(self.record, self.record.stat().st_mtime_ns):
            yield path, digest, os.path.join(site, path)


def owners(name: str, spec: ModuleSpec) -> list[Owner]:
    """The installed distributions that hold the files of a top-level module, by name.

    An editable installation holds none: its files lie in a checkout and may change at any time.
    """
    folders = module_folders(spec)
    places = {folder.parent for folder in folders} or {Path(str(spec.origin)).parent}
    found = []
    for place in places:
        try:
            stamp = place.stat().st_mtime_ns
        except OSError:
            continue
        for owner, text in _installed(str(place), stamp):
            if _holds(text, name, bool(folders)):
                found.append(owner)
    return sorted(found, key=lambda owner: owner.name)


def code_files(folder: Path) -> list[Path]:
    """All Python files and compiled modules below a folder, in order."""
    endings = (".py", *importlib.machinery.EXTENSION_SUFFIXES)
    return sorted(
        path
        for path in folder.rglob("*")
        if path.name.endswith(endings) and path.is_file() and not _hidden(path.relative_to(folder))
    )


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def _bytes_digest(spec: ModuleSpec) -> str:
    """Digits of a hash of a package's Python files; compiled ones of the stack are large."""
    folders = module_folders(spec)
    files = [file for folder in folders for file in code_files(folder) if file.suffix == ".py"]
    root = folders[0] if folders else Path(str(spec.origin)).parent
    lines = [
        f"{file.relative_to(root) if root in file.parents else file.name} "
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}"
        for file in files or [Path(str(spec.origin))]
    ]
    return _short("\n".join(sorted(lines)))


@lru_cache(maxsize=64)
def _installed(place: str, stamp: int) -> list[tuple[Owner, str]]:
    """The distributions of a folder and the text of their records; ``stamp`` is of the folder."""
    found = []
    for each in distributions(path=[place]):
        record, folder = each.read_text("RECORD"), getattr(each, "_path", None)
        if record and folder is not None and not _editable(each):
            found.append((Owner(each.name, each.version, Path(folder) / "RECORD"), record))
    return found


def _editable(found: Distribution) -> bool:
    try:
        facts = json.loads(found.read_text("direct_url.json") or "{}")
        return bool(facts.get("dir_info", {}).get("editable"))
    except (ValueError, AttributeError):
        return False


def _holds(record: str, name: str, package: bool) -> bool:
    lines = "\n" + record
    if not package:
        return f"\n{name}.py," in lines or f"\n{name}." in lines
    if f"\n{name}/__init__.py," in lines:
        return True
    # A namespace: whoever has files in it.
    return f"\n{name}/" in lines and f"{name}/__init__." not in lines


@lru_cache(maxsize=64)
def _recorded(record: Path, stamp: int) -> list[tuple[str, str]]:
    """The lines of a record about code, with their SHA-256; scripts name the environment's path."""
    endings = (".py", *importlib.machinery.EXTENSION_SUFFIXES)
    lines: Iterable[list[str]] = csv.reader(io.StringIO(record.read_text(encoding="utf-8")))
    return [
        (line[0], line[1].partition("=")[2])
        for line in lines
        if len(line) > 1
        and line[1].startswith("sha256=")
        and line[0].endswith(endings)
        and not line[0].startswith(("..", "/"))
    ]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _lines(digests: Mapping[str, str]) -> str:
    return "\n".join(f"{path} {digest}" for path, digest in sorted(digests.items()))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:12]
