"""From a module or a class to the files that an import of it runs; nothing is imported."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.records.identity.packages import (
    METHOD_FILE,
    Package,
    absolute,
    beside,
    places,
    project_folder,
    whole_packages,
)
from benchmarks.records.identity.syntax import ClassSource, Import, read_source
from benchmarks.records.identity.versions import (
    ABSENT,
    STACK,
    find_module,
    package_version,
    stack_version,
)
from tasks.errors import UserError, unknown_name
from tasks.registry import Registry

PROJECT = ("benchmarks", "methods", "tasks")
CONTRACTS = ("methods.base", "tasks.base")
"""Where the base classes of all methods and tasks are, which add nothing of their own."""
FOLLOWED_BY_NAME = ("tasks/registry.py",)
"""Files whose computed imports are those of registered names, which are looked up as such."""


@dataclass
class Sources:
    """Code that decides numbers.

    Attributes:
        files: by a name that is the same on every machine (``package/module.py``).
        packages: the version of further packages, by the name of the module.
        own: the beginning of the names of those files of the project that were requested, and not
            only imported.
    """

    files: dict[str, Path] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)

    def is_shared(self, name: str) -> bool:
        """Whether a file is one of the project's that was only imported."""
        return name.partition("/")[0] in PROJECT and not name.startswith(tuple(self.own))


class Walk:
    """Collects files and packages from imports, each once.

    Args:
        registry: where names of classes are looked up.
        method_file: a file beside which modules are looked for, last.
    """

    def __init__(
        self,
        registry: Registry[Any],
        method_file: str | Path | None = None,
    ) -> None:
        self.sources = Sources()
        self._registry = registry
        self._file = Path(method_file).resolve() if method_file else None
        self._followed: set[Path] = set()
        self._whole: set[str] = set()
        self._classes: set[tuple[str, str]] = set()

    def registered(self, name: str) -> None:
        """Add the code of the class that is registered under a name.

        Raises:
            UserError: no such name, or a module that takes part cannot be found.
        """
        if self._file is not None and name in self._registered_in_file():
            self._class(METHOD_FILE + self._file.stem, "", name)
            return
        entry = next((each for each in self._registry.entries() if each.name == name), None)
        if entry is None:
            raise unknown_name(self._registry.kind, name, self._registry.names())
        module, _, attribute = entry.module.partition(":")
        self._class(module, attribute.partition(".")[0], name)

    def method_file(self) -> None:
        """Add the method file.

        Raises:
            UserError: it is not there, or a module beside it is hidden by another.
        """
        assert self._file is not None
        if not self._file.is_file():
            raise UserError(f"there is no method file {self._file}: give the path of a Python file")
        self._follow(self._file.name, self._file, METHOD_FILE + self._file.stem, package=False)

    def module(self, name: str, own: bool = False) -> bool:
        """Add a module.

        Args:
            name: dotted; what follows the module may be an attribute.
            own: add all of its top-level package, or of its folder in the project.

        Returns:
            Whether its package is there.
        """
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names:
            return True
        if top in STACK:
            if top not in self.sources.packages:
                self.sources.packages[top] = stack_version(top)
            return self.sources.packages[top] != ABSENT
        if top in PROJECT:
            self._project(name, own)
            return True
        return self._outside(name, own)

    # Classes.

    def _registered_in_file(self) -> set[str]:
        assert self._file is not None
        if not self._file.is_file():
            return set()
        classes = read_source(self._file).classes.values()
        return {name for kind in classes for name in kind.registered}

    def _class(self, module: str, attribute: str, registered: str = "") -> None:
        """Add the package of a class, the modules of its ``sources``, and those of its bases."""
        if (module, attribute or registered) in self._classes:
            return
        self._classes.add((module, attribute or registered))
        path = self._whole_package_of(module)
        if path is None:
            raise UserError(
                f"cannot find the source code of {module}, where '{registered or attribute}' is "
                "defined, and no run id can be made without it"
            )
        source = read_source(path)
        for name, kind in source.classes.items():
            if name == attribute or (registered and registered in kind.registered):
                self._parts(module, path, name, kind)
        if attribute and attribute not in source.classes and attribute in source.bound:
            self._imported(module, path, source.bound[attribute], "")

    def _parts(self, module: str, path: Path, name: str, kind: ClassSource) -> None:
        if not kind.readable:
            raise UserError(
                f"{path}: 'sources' of {name} must be a list of names of modules, written out as "
                "strings"
            )
        for further in kind.sources or ():
            self.named(further, f"{path}: 'sources' of {name}")
        source = read_source(path)
        for base in kind.bases:
            first, _, rest = base.partition(".")
            if base in source.classes and base != name:
                self._parts(module, path, base, source.classes[base])
            elif first in source.bound:
                self._imported(module, path, source.bound[first], rest)

    def named(self, module: str, where: str) -> None:
        """Add a module that somebody names as a source, with all of its package.

        Raises:
            UserError: it cannot be found.
        """
        if not self.module(module, own=True) or self._file_of(module) is None:
            raise UserError(f"{where} names {module}, which cannot be found: name a module")

    def _imported(self, module: str, path: Path, bound: Import, rest: str) -> None:
        """Add a class that a module imports; ``rest`` follows the imported name."""
        origin = absolute(bound, module, path.name == "__init__.py")
        name = bound.name
        if rest:
            inner, _, last = rest.rpartition(".")
            origin, name = ".".join(filter(None, [origin, bound.name, inner])), last
        top = origin.partition(".")[0]
        if origin not in CONTRACTS and top not in STACK and top not in sys.stdlib_module_names:
            self._class(origin, name)

    def _whole_package_of(self, module: str) -> Path | None:
        """Add all of the package of a class's module, and return the module's file."""
        file = self._file_of(module)
        if file is not None and file == self._file:
            self.method_file()
            return file
        if self._roots(module.partition(".")[0]):
            self.module(module, own=True)
        if file is not None and file not in self._followed:
            # A module that this process alone knows, such as one of a test: a package of the same
            # name may be installed.
            self._follow(f"{module.replace('.', '/')}.py", file, module, package=False)
        return file

    def _file_of(self, module: str) -> Path | None:
        if self._file is not None and module == METHOD_FILE + self._file.stem:
            return self._file
        top = module.partition(".")[0]
        for root in self._roots(top):
            found = list(Package(top, root).run_by(module))
            if found and found[-1][2] == module:
                return found[-1][1]
        loaded = getattr(sys.modules.get(module), "__file__", None)
        return Path(loaded).resolve() if loaded and Path(loaded).is_file() else None

    # Modules.

    def _project(self, name: str, own: bool) -> None:
        top, *rest = name.split(".")
        root = project_folder(top)
        if own and rest:
            self.sources.own.add(f"{top}/{rest[0]}")
            if top != "benchmarks" and (root / rest[0]).is_dir():
                self._add_whole(Package(f"{top}.{rest[0]}", root / rest[0]))
        for label, file, dotted in Package(top, root).run_by(name):
            self._follow(label, file, dotted, package=file.name == "__init__.py")

    def _outside(self, name: str, own: bool) -> bool:
        top = name.partition(".")[0]
        if top in self.sources.packages and not own:
            return self.sources.packages[top] != ABSENT
        roots = self._roots(top)
        if not roots:
            self.sources.packages[top] = ABSENT
            return False
        version = None if own else package_version(top)
        if version is not None:
            self.sources.packages[top] = version
            return True
        for package in whole_packages(name, roots):
            self._add_whole(package)
        return True

    def _add_whole(self, package: Package) -> None:
        if package.name in self._whole:
            return
        self._whole.add(package.name)
        for label, file in package.files():
            dotted = label.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            self._follow(label, file, dotted, package=file.name == "__init__.py")

    def _roots(self, top: str) -> list[Path]:
        """The folders or the file of a top-level module."""
        if top in PROJECT:
            return [project_folder(top)]
        spec = find_module(top)
        near = beside(self._file, top) if self._file is not None else None
        if spec is not None and (near is None or near in places(spec)):
            return [path for path in places(spec) if path.exists()]
        return [near] if near is not None else []

    def _follow(self, label: str, file: Path, module: str, package: bool) -> None:
        """Add a file, and what it imports."""
        if file in self._followed:
            return
        self._followed.add(file)
        self.sources.files[label] = file
        if file.suffix != ".py":
            return
        source = read_source(file)
        for each in sorted(source.imports):
            name = absolute(each, module, package)
            if not name:
                continue
            self.module(name)
            if each.name:
                self.module(f"{name}.{each.name}")
        home = module if package else module.rpartition(".")[0]
        if source.dynamic and label not in FOLLOWED_BY_NAME and home.partition(".")[0] in PROJECT:
            if "." in home:
                self._add_whole(Package(home, file.parent))
