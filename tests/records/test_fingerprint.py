"""The fingerprint of a run that is built: nothing that takes part is left out silently."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from records.throwaway import change, write_package

from benchmarks.budget import Budget
from benchmarks.engine.building import build_run
from benchmarks.engine.fingerprint import fingerprint, require_planned_code
from benchmarks.spec import RunSpec
from methods.base import METHODS
from tasks.errors import UserError
from tasks.openmmlab.config import custom_imports

HIDDEN = """from importlib import import_module

from methods.base import Method

Base = import_module("hid" + "den").Base"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = write_package(tmp_path / "site")
    (folder / "hidden.py").write_text(
        "from methods import Method\n\n\nclass Base(Method):\n    A = 1\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    known = set(sys.modules)
    yield folder
    METHODS._objects.pop("scaled", None)
    for name in set(sys.modules) - known:
        if name.startswith(("others", "hidden")):
            del sys.modules[name]


def facts_of(method: str) -> dict[str, Any]:
    return fingerprint(built_with(method))


def built_with(method: str) -> Any:
    return build_run(
        RunSpec(
            suite="mine", profile="smoke", task="classification",
            task_options={"dataset": "digits", "arch": "cifar_resnet8"}, method=method,
            method_options={}, seed=0, budget=Budget({"steps": 1}), device="cpu",
        )
    )  # fmt: skip


def test_versions_are_of_all_modules_that_a_run_imports() -> None:
    found = facts_of("end_to_end")
    assert {"python", "torch", "torchvision", "mmengine", "numpy", "sklearn"} <= set(
        found["versions"]
    )
    assert "mmdet" not in found["versions"]
    assert set(found["code"]) == {"method", "tasks", "harness"}
    assert found == facts_of("end_to_end")


def test_a_base_class_behind_a_computed_import_must_be_named(package: Path) -> None:
    methods = package / "others/methods_of_ours.py"
    change(methods, "from methods.base import Method", HIDDEN)
    change(methods, "class Scaled(Method)", "class Scaled(Base)")
    built = built_with("scaled")
    with pytest.raises(UserError, match=r"code in hidden that cannot be found .* in 'sources' of"):
        fingerprint(built)
    change(
        methods,
        "    changes_nothing = True",
        "    changes_nothing = True\n    sources = ('hidden',)",
    )
    first = fingerprint(built)["code"]["method"]
    change(package / "hidden.py", "A = 1", "A = 2")
    assert fingerprint(built)["code"]["method"] != first


def test_code_that_changed_since_a_run_was_planned_is_named(package: Path) -> None:
    built = built_with("scaled")
    planned = {"fingerprint": fingerprint(built)}
    require_planned_code(built, planned)
    change(package / "others/inner/helper.py", "# of the loss", "# of what is lost")
    require_planned_code(built, planned)
    change(package / "others/inner/helper.py", "SCALE = 1.0", "SCALE = 2.0")
    with pytest.raises(UserError, match="the code of the method changed after the run was planned"):
        require_planned_code(built, planned)


def test_modules_that_a_config_imports_are_sources() -> None:
    for written in ("mine.models", ["mine.models"]):
        config = Config({"custom_imports": {"imports": written}})
        assert custom_imports(config) == ("mine.models",)
    assert custom_imports(Config({})) == ()
