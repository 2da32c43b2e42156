"""A user's own methods from a file that belongs to no installed package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from benchmarks.records.identity.packages import METHOD_FILE, beside
from benchmarks.records.identity.syntax import read_source
from benchmarks.records.identity.versions import find_module
from tasks.crash import describe
from tasks.errors import UserError

_OURS = ("benchmarks", "methods", "tasks")


class HiddenModuleError(UserError):
    """A module beside a method file has the name of another one, which is found first."""


def import_method_file(path: str | Path) -> None:
    """Run a Python file, so that its ``@METHODS.register`` decorators take effect.

    A file is run once in a process, however often it is named. Modules beside it can be
    imported from then on; its folder comes last on the path, so that it replaces nothing.

    Raises:
        UserError: there is no such file, it raises while it is imported, or it imports a module
            beside it whose name another one has.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise UserError(f"there is no method file {path}: give the path of a Python file")
    name = METHOD_FILE + file.stem
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(file):
        return
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file: its name must end in .py")
    search = list(sys.path)
    if str(file.parent) not in map(_folder, sys.path):
        sys.path.append(str(file.parent))
    module = importlib.util.module_from_spec(spec)
    # Registered first: dataclasses and pickling look their module up by name.
    sys.modules[name] = module
    try:
        _check_names(file, file, set())
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        sys.path[:] = search
        if isinstance(error, HiddenModuleError):
            raise
        raise UserError(f"the method file {path} cannot be imported: {describe(error)}") from error


def _check_names(file: Path, importing: Path, seen: set[Path]) -> None:
    """Refuse modules beside a method file that another module of their name would replace."""
    seen.add(importing)
    for each in sorted(read_source(importing).imports):
        name = each.module.partition(".")[0]
        near = beside(file, name) if name and not each.level and name not in _OURS else None
        if near is None:
            continue
        used = _used(name)
        if used is not None and near not in used.parents and used != near:
            raise HiddenModuleError(
                f"{importing} imports '{name}', which is {used} and not {near}: "
                "give the module beside the method file another name"
            )
        for inner in near.rglob("*.py") if near.is_dir() else [near]:
            if inner not in seen:
                _check_names(file, inner, seen)


def _used(name: str) -> Path | None:
    """The file that ``import name`` runs or has run; None for a namespace or none."""
    loaded = getattr(sys.modules.get(name), "__file__", None)
    spec = find_module(name)
    origin = loaded or (spec.origin if spec is not None and spec.has_location else None)
    if origin is None and (name in sys.builtin_module_names or name in sys.modules):
        return Path(name)
    return Path(origin).resolve() if origin else None


def _folder(path: str) -> str:
    return str(Path(path).resolve())
