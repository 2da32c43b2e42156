"""A registry whose names can be listed without importing what they name.

Built-in entries are found by reading the decorators in the source files, so that ``depthbench
list`` never imports torch. A file is imported when one of its names is requested.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from tasks.errors import UserError, unknown_name
from tasks.option_types import check_types

T = TypeVar("T")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Entry:
    """A name, its one-line summary, and the module that defines it."""

    name: str
    summary: str
    module: str


class Registry(Generic[T]):
    """Names to objects, filled by ``@REGISTRY.register("name")`` and by entry points.

    A name may hold integer placeholders: ``wrn_{depth}_{width}`` answers to ``wrn_28_10`` and
    hands ``depth=28, width=10`` to the object as extra options.

    Args:
        kind: what the entries are called in messages ("method").
        symbol: the variable that holds this registry, as written in the decorators.
        package: the package whose files are searched for decorators.
        group: the entry point group that other distributions register under, if any.
    """

    def __init__(self, kind: str, symbol: str, package: str, group: str | None = None) -> None:
        self.kind = kind
        self._symbol = symbol
        self._package = package
        self._group = group
        self._objects: dict[str, T] = {}
        self._scanned: dict[str, Entry] | None = None

    def register(self, *names: str) -> Callable[[T], T]:
        """Decorate a class or function to be found under ``names``."""

        def decorate(target: T) -> T:
            for name in names:
                self._objects[name] = target
            return target

        return decorate

    def entries(self) -> list[Entry]:
        """All names with their summaries, without importing the built-in ones."""
        found = dict(self._builtin())
        for point in self._entry_points():
            distribution = point.dist.name if point.dist else point.value
            found.setdefault(point.name, Entry(point.name, f"from {distribution}", point.value))
        for name, target in self._objects.items():
            summary = first_line(getattr(target, "__doc__", None))
            found.setdefault(name, Entry(name, summary, getattr(target, "__module__", "")))
        return [found[name] for name in sorted(found)]

    def names(self) -> list[str]:
        """All names, sorted."""
        return [entry.name for entry in self.entries()]

    def find(self, name: str) -> tuple[T, dict[str, int]]:
        """Return the object under ``name`` and the integers read from its placeholders.

        Raises:
            UserError: the name is unknown; the message names the nearest one.
        """
        for pattern in self.names():
            values = match(pattern, name)
            if values is not None:
                return self._load(pattern), values
        raise unknown_name(self.kind, name, self.names())

    def get(self, name: str) -> T:
        """Return the object under ``name``; see :meth:`find`."""
        return self.find(name)[0]

    def _load(self, name: str) -> T:
        if name in self._objects:
            return self._objects[name]
        builtin = self._builtin().get(name)
        if builtin is not None:
            importlib.import_module(builtin.module)
            return self._objects[name]
        point = next(p for p in self._entry_points() if p.name == name)
        try:
            target = point.load()
        except Exception as error:
            raise UserError(
                f"{self.kind} '{name}' comes from the entry point {point.value}, "
                f"which cannot be imported: {error}"
            ) from error
        self._objects[name] = target
        return target

    def _entry_points(self) -> Iterator[Any]:
        yield from entry_points(group=self._group) if self._group else ()

    def _builtin(self) -> dict[str, Entry]:
        if self._scanned is None:
            self._scanned = {}
            spec = importlib.util.find_spec(self._package)
            for folder in (spec.submodule_search_locations or []) if spec else []:
                for path in sorted(Path(folder).rglob("*.py")):
                    for entry in self._scan(path, Path(folder)):
                        self._scanned[entry.name] = entry
        return self._scanned

    def _scan(self, path: Path, root: Path) -> Iterator[Entry]:
        source = path.read_text(encoding="utf-8")
        marker = f"@{self._symbol}.register("
        if marker not in source:
            return
        parts = [self._package, *path.relative_to(root).with_suffix("").parts]
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for node in ast.parse(source).body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef):
                continue
            for call in node.decorator_list:
                if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                    continue
                if ast.unparse(call.func) != f"{self._symbol}.register":
                    continue
                for argument in call.args:
                    name = ast.literal_eval(argument)
                    yield Entry(name, first_line(ast.get_docstring(node)), module)


def match(pattern: str, name: str) -> dict[str, int] | None:
    """Match ``name`` against a name with integer placeholders; None when it does not."""
    if pattern == name:
        return {}
    fields = _PLACEHOLDER.findall(pattern)
    if not fields:
        return None
    literals = [re.escape(part) for part in _PLACEHOLDER.split(pattern)[::2]]
    found = re.fullmatch(r"(\d+)".join(literals), name)
    return dict(zip(fields, map(int, found.groups()), strict=True)) if found else None


def first_line(docstring: str | None) -> str:
    """The first line of a docstring, without its full stop."""
    return docstring.strip().splitlines()[0].rstrip(".") if docstring else ""


def build(kind: str, target: Callable[..., T], options: dict[str, Any]) -> T:
    """Call ``target(**options)`` after checking the options against its signature.

    Raises:
        UserError: an option is unknown (with the nearest name) or of another type than the
            annotated one, or a required one is missing.
    """
    parameters = inspect.signature(target).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for key in options:
            if key not in parameters:
                raise unknown_name(f"option of {kind}", key, parameters)
    for key, parameter in parameters.items():
        required = parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )
        if required and key not in options:
            raise UserError(f"{kind} needs the option '{key}'")
    check_types(kind, target, options)
    try:
        return target(**options)
    except ValueError as error:
        raise UserError(f"{kind}: {error}") from error
    except TypeError as error:
        # What takes any option and hands it on names the one that nothing takes.
        refused = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if refused is None or refused[1] not in options:
            raise
        raise UserError(f"{kind} has no option '{refused[1]}' ({error})") from error
