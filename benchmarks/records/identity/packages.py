"""Packages in the file system: their files, and which of them an import runs."""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from benchmarks.records.identity.syntax import Import
from benchmarks.records.identity.versions import code_files, find_module, module_folders

METHOD_FILE = "depthbench_method_file_"
"""What the module of a method file is called, before the name of the file."""


@dataclass(frozen=True)
class Package:
    """A package or a single module in the file system.

    Attributes:
        name: its dotted name.
        root: its folder, or its file.
    """

    name: str
    root: Path

    @property
    def label(self) -> str:
        """The beginning of its files' names."""
        return self.name.replace(".", "/")

    def files(self) -> Iterator[tuple[str, Path]]:
        """All its files by name."""
        if self.root.is_file():
            yield f"{self.label}{self.root.suffix}", self.root
            return
        for file in code_files(self.root):
            yield f"{self.label}/{file.relative_to(self.root).as_posix()}", file

    def run_by(self, module: str) -> Iterator[tuple[str, Path, str]]:
        """Name, file and dotted name of each file that importing ``module`` runs, outermost first.

        Ends where the dotted name continues with an attribute.
        """
        place, dotted = self.root, self.name
        if place.is_file():
            yield f"{self.label}{place.suffix}", place, dotted
            return
        rest = module.split(".")[len(dotted.split(".")) :]
        while True:
            label = dotted.replace(".", "/")
            if (place / "__init__.py").is_file():
                yield f"{label}/__init__.py", place / "__init__.py", dotted
            if not rest:
                return
            part = rest.pop(0)
            dotted = f"{dotted}.{part}"
            if (place / part).is_dir():
                place = place / part
                continue
            for ending in (".py", *importlib.machinery.EXTENSION_SUFFIXES):
                if (place / f"{part}{ending}").is_file():
                    yield f"{label}/{part}{ending}", place / f"{part}{ending}", dotted
                    break
            return


def absolute(each: Import, module: str, package: bool) -> str:
    """The dotted name of the module that an import names.

    Args:
        each: the import.
        module: dotted name of the importing module.
        package: whether that is a package, which relative names start from.
    """
    if not each.level:
        return each.module
    parts = module.split(".")
    kept = parts[: len(parts) - each.level + package]
    return ".".join(filter(None, [*kept, each.module]))


def whole_packages(name: str, roots: Iterable[Path]) -> Iterator[Package]:
    """What counts whole for a module: its top-level package, or the first below a namespace."""
    for root in roots:
        place, dotted = root, name.partition(".")[0]
        for part in name.split(".")[1:]:
            if place.is_file() or (place / "__init__.py").is_file():
                break
            inner = (place / part, place / f"{part}.py")
            found = next((path for path in inner if path.exists()), None)
            if found is None:
                break
            place, dotted = found, f"{dotted}.{part}"
        if place.is_file() or (place / "__init__.py").is_file():
            yield Package(dotted, place)


def places(spec: importlib.machinery.ModuleSpec) -> list[Path]:
    """The folders of a package, or the file of a module."""
    return [Path(path).resolve() for path in module_folders(spec) or [Path(str(spec.origin))]]


def beside(file: Path, name: str) -> Path | None:
    """The module ``name`` in the folder of a file: its folder or file; None without one."""
    folder = file.parent / name
    if (folder / "__init__.py").is_file():
        return folder
    if (file.parent / f"{name}.py").is_file():
        return file.parent / f"{name}.py"
    return folder if folder.is_dir() and any(folder.glob("*.py")) else None


@lru_cache(maxsize=8)
def project_folder(name: str) -> Path:
    """The folder of a package of the project that this process runs."""
    spec = find_module(name)
    loaded = getattr(sys.modules.get(name), "__file__", None)
    return Path(loaded or str(spec.origin if spec else name)).resolve().parent
