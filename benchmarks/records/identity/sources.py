"""Which code decides the numbers of a run, found without importing any of it.

- The harness: the rooms and files of :data:`DECIDING`. All else in it only plans, reads or shows.
- A built-in method or task: its own file or folder, and what that imports from the project, file
  by file, so that a change in detection leaves classification as it is.
- One of an installed package: all of its top-level package.
- A method file: the file, and the modules beside it that it imports.
- A package that any of these imports: its files if it belongs to no installed distribution (or to
  an editable one), else version and contents of the distribution. Modules of
  :data:`benchmarks.records.identity.versions.STACK` count by their version.
- Base classes, modules named in ``sources``, and methods that a method is composed of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.records.identity.imports import Sources, Walk
from benchmarks.records.identity.packages import project_folder
from benchmarks.records.identity.syntax import SourceFile, read_source
from methods.base import METHODS
from tasks.base import TASKS
from tasks.errors import UserError
from tasks.registry import match

DECIDING = ("engine", "meters", "budget.py")
"""The rooms and files of ``benchmarks`` that train, measure and count: they decide every number."""


def method_sources(
    name: str,
    options: Mapping[str, Any] | None = None,
    method_file: str | Path | None = None,
    further: Sequence[str] = (),
) -> Sources:
    """The code of a method, and of the methods that it is composed of.

    A method takes part in another if its registered name is a string in the other's code or
    options: ``METHODS.get("replacement")``, ``{base: replacement}``.

    Args:
        name: as registered.
        options: of the method, as a suite writes them.
        method_file: the run's method file, beside which modules are looked for.
        further: modules that decide a number too.

    Raises:
        UserError: the name is unknown, or a module that decides numbers cannot be found.
    """
    walk = Walk(METHODS, method_file)
    _add_named(walk, further, f"method '{name}'")
    patterns = METHODS.names()
    waiting, done = (
        {_pattern(patterns, name), *_registered(patterns, strings(options or {}))},
        set(),
    )
    while waiting:
        for pattern in sorted(waiting):
            walk.registered(pattern)
        done |= waiting
        found: set[str] = set()
        for source, shared in _own_sources(walk):
            found |= source.lookups if shared else source.strings
        waiting = set(_registered(patterns, found)) - done
    return walk.sources


def task_sources(
    name: str, method_file: str | Path | None = None, further: Sequence[str] = ()
) -> Sources:
    """The code of a task, and of the registered tasks that its code looks up by name.

    Raises:
        UserError: as for :func:`method_sources`.
    """
    walk = Walk(TASKS, method_file)
    _add_named(walk, further, f"task '{name}'")
    patterns = TASKS.names()
    waiting, done = {_pattern(patterns, name)}, set[str]()
    while waiting:
        for pattern in sorted(waiting):
            walk.registered(pattern)
        done |= waiting
        found = {name for source, _ in _own_sources(walk) for name in source.lookups}
        waiting = set(_registered(patterns, found)) - done
    return walk.sources


def file_sources(path: str | Path) -> Sources:
    """A method file, and the modules beside it that it imports.

    Raises:
        UserError: the file is not there.
    """
    walk = Walk(METHODS, path)
    walk.method_file()
    return walk.sources


def harness_sources() -> Sources:
    """The code that trains and measures: all of :data:`DECIDING`."""
    root = project_folder("benchmarks")
    files: dict[str, Path] = {}
    for place in DECIDING:
        found = [root / place] if place.endswith(".py") else sorted((root / place).rglob("*.py"))
        files |= {f"benchmarks/{file.relative_to(root).as_posix()}": file for file in found}
    return Sources(files)


def digest(files: Mapping[str, Path]) -> str:
    """SHA-256 of source files by name: of syntax trees, or of bytes where a file is not Python.

    Raises:
        UserError: a file cannot be read.
    """
    lines = []
    for name, path in sorted(files.items()):
        try:
            content = (
                read_source(path).digest
                if path.suffix == ".py"
                else hashlib.sha256(path.read_bytes()).hexdigest()
            )
        except OSError as error:
            raise UserError(f"cannot read the source code {path}: {error.strerror}") from error
        lines.append(f"{name}:{content}")
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def _add_named(walk: Walk, modules: Sequence[str], where: str) -> None:
    for module in modules:
        walk.named(module, f"'sources' of {where}")


def _pattern(patterns: Sequence[str], name: str) -> str:
    """The registered name that answers to ``name``; that name itself where none does."""
    return next((p for p in patterns if match(p, name) is not None), name)


def _registered(patterns: Sequence[str], names: Iterable[str]) -> Iterator[str]:
    """The registered names that answer to some of ``names``."""
    for name in names:
        for pattern in patterns:
            if match(pattern, name) is not None:
                yield pattern


def _own_sources(walk: Walk) -> Iterator[tuple[SourceFile, bool]]:
    """What was read of all Python files, and whether others use the file too."""
    for label, path in walk.sources.files.items():
        if path.suffix == ".py":
            yield read_source(path), walk.sources.is_shared(label)


def strings(values: Any) -> Iterator[str]:
    """All strings among options, at any depth."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield from strings(key)
            yield from strings(value)
    elif isinstance(values, list | tuple | set):
        for value in values:
            yield from strings(value)
