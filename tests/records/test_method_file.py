"""A method file and the modules beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.suites.plugins import import_method_file
from methods.base import METHODS
from tasks.errors import UserError

METHOD = """\
from {module} import value
from methods import METHODS, Method
from tasks.errors import UserError


@METHODS.register("{name}")
class Own(Method):
    def prepare(self, model):
        from later_beside import more

        return value + more
"""


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    modules = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    for name in ("first_own", "second_own"):
        METHODS._objects.pop(name, None)


def write(folder: Path, module: str, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "own.py").write_text(METHOD.format(module=module, name=name))
    (folder / f"{module}.py").write_text("value = 1\n")
    (folder / "later_beside.py").write_text("more = 2\n")
    # Folders of the names of the project's packages replace none of them.
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "tasks" / "__init__.py").write_text("raise ImportError\n")
    return folder / "own.py"


def test_modules_beside_a_method_file_are_found_then_and_later(tmp_path: Path) -> None:
    path = list(sys.path)
    import_method_file(write(tmp_path / "a", "first_beside", "first_own"))
    assert METHODS.get("first_own")().prepare(None) == 3
    assert sys.path == [*path, str(tmp_path / "a")], "the folder comes last"


def test_a_module_beside_it_that_another_would_replace_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a", "json", "first_own")
    with pytest.raises(UserError, match=r"own.py imports 'json', which is .*json/__init__.py and"):
        import_method_file(file)
    # So is one that the other of two method files has brought in.
    import_method_file(write(tmp_path / "b", "second_beside", "first_own"))
    METHODS.get("first_own")().prepare(None)
    other = write(tmp_path / "c", "second_beside", "second_own")
    with pytest.raises(UserError, match=r"imports 'later_beside', which is .*/b/later_beside.py"):
        import_method_file(other)
    # Reached through a module that is beside it as well.
    (tmp_path / "c" / "own.py").write_text("import third_beside\n")
    (tmp_path / "c" / "third_beside.py").write_text("def f():\n    import yaml\n")
    (tmp_path / "c" / "yaml.py").write_text("")
    with pytest.raises(UserError, match=r"third_beside.py imports 'yaml', which is "):
        import_method_file(other)
