"""Which code is found to decide a run, without importing it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from records.throwaway import change, write_package

from benchmarks.records.identity import sources as sources_module
from benchmarks.records.identity.imports import Walk
from benchmarks.records.identity.sources import (
    digest,
    file_sources,
    harness_sources,
    method_sources,
    task_sources,
)
from benchmarks.records.identity.versions import ABSENT
from methods.base import METHODS
from tasks.base import TASKS
from tasks.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_package(tmp_path / "site")
    monkeypatch.syspath_prepend(str(folder))
    return folder


def code_of(name: str, **options: object) -> str:
    return digest(method_sources(name, options).files)


def test_a_built_in_method_is_its_own_files_and_what_they_import() -> None:
    files = set(method_sources("replacement").files)
    assert {"methods/replacement/light.py", "methods/synthesis.py", "methods/base.py"} <= files
    assert not any(name.startswith(("methods/mind", "methods/superweight")) for name in files)
    alone = set(method_sources("end_to_end").files)
    assert "methods/end_to_end.py" in alone
    assert not any("replacement" in name for name in alone)


def test_detection_and_classification_do_not_decide_each_other() -> None:
    classification = set(task_sources("classification").files)
    detection = set(task_sources("detection").files)
    assert {"tasks/classification/datasets/digits.py", "tasks/base.py"} <= classification
    assert not any(
        name.startswith(("tasks/detection", "tasks/openmmlab")) for name in classification
    )
    assert {"tasks/openmmlab/ops/nms.py", "tasks/detection/coco.py"} <= detection
    assert "tasks/classification/models/wide_resnet.py" not in detection
    assert not any(name.startswith("tasks/segmentation") for name in detection)


def test_a_computed_import_in_the_project_brings_its_folder() -> None:
    walk = Walk(TASKS)
    walk.module("tasks.openmmlab.ops.missing")
    assert {"tasks/openmmlab/ops/finder.py", "tasks/openmmlab/ops/nms.py"} <= set(
        walk.sources.files
    )
    assert "tasks/openmmlab/task.py" not in walk.sources.files


RUN_BY_A_RUN = """
import sys
import benchmarks.engine.run, benchmarks.engine.building
print(*sorted(name for name in sys.modules if name.startswith("benchmarks.")))
"""
DECIDING_NOTHING = {
    "analysis": "reads numbers that are there",
    "records": "writes and names what was measured",
    "report": "shows numbers that are there",
    "spec": "is in the id itself",
    "suites": "reads files",
    "launch": "keeps standard streams open",
}


def test_every_file_that_a_run_imports_counts_or_is_left_out_for_a_reason() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN_BY_A_RUN], capture_output=True, text=True, check=True, cwd=ROOT
    )
    counted = set(harness_sources().files)
    for name in done.stdout.split():
        place = name.replace(".", "/")
        if not {f"{place}.py", f"{place}/__init__.py"} & counted:
            assert name.split(".")[1] in DECIDING_NOTHING, name
    assert {
        "benchmarks/engine/run.py",
        "benchmarks/engine/hooks.py",
        "benchmarks/meters/operations.py",
        "benchmarks/budget.py",
    } <= counted
    assert not any(name.startswith(("benchmarks/report", "benchmarks/cli")) for name in counted)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("others/inner/helper.py", "SCALE = 1.0", "SCALE = 0.0"),
        ("others/methods_of_ours.py", "every: int = 2", "every: int = 4"),
        ("others/loss.py", "return 0.1", "return 0.2"),
    ],
)
def test_any_file_of_an_installed_package_decides_its_methods(
    package: Path, file: str, old: str, new: str
) -> None:
    before = code_of("scaled"), digest(task_sources("own_digits").files)
    change(package / file, old, new)
    after = code_of("scaled"), digest(task_sources("own_digits").files)
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_a_sentence_of_an_installed_package_decides_nothing(package: Path) -> None:
    before = code_of("scaled")
    change(package / "others/inner/helper.py", "The loss, scaled.", "The scaled loss.")
    change(package / "others/inner/helper.py", "# of the loss", "# no unit")
    assert code_of("scaled") == before


def test_the_parts_of_a_composition_decide_it(package: Path) -> None:
    assert "methods/replacement/light.py" in method_sources("composed").files
    # By an option, at any depth, too; and bases of a task in the project.
    options = {"parts": [{"name": "mind"}]}
    assert "methods/mind/spectral.py" in method_sources("scaled", options).files
    assert "methods/mind/spectral.py" not in method_sources("scaled").files
    assert "tasks/classification/models/wide_resnet.py" in task_sources("own_digits").files


def test_a_base_class_in_another_distribution_counts_whole(package: Path, tmp_path: Path) -> None:
    base = tmp_path / "site" / "bases"
    (base / "deep").mkdir(parents=True)
    (base / "__init__.py").write_text("from bases.deep import Base\n")
    (base / "deep" / "__init__.py").write_text(
        "from methods import Method\nclass Base(Method): ...\n"
    )
    (base / "helper.py").write_text("A = 1\n")
    info = tmp_path / "site" / "bases-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bases\nVersion: 2.0\n")
    (info / "RECORD").write_text("bases/__init__.py,,\nbases/helper.py,,\n")
    methods = package / "others/methods_of_ours.py"
    change(methods, "class Scaled(Method)", "class Scaled(bases.Base)")
    change(
        methods, "from methods.base import Method", "import bases\nfrom methods.base import Method"
    )
    before = code_of("scaled")
    assert "bases/helper.py" in method_sources("scaled").files
    (base / "helper.py").write_text("A = 2\n")
    assert code_of("scaled") != before


def test_further_sources_count_and_must_be_there(package: Path) -> None:
    methods = package / "others/methods_of_ours.py"
    (package / "computed.py").write_text("A = 1\n")
    change(
        methods,
        "    changes_nothing = True",
        "    changes_nothing = True\n    sources = ('computed',)",
    )
    before = code_of("scaled")
    (package / "computed.py").write_text("A = 2\n")
    assert code_of("scaled") != before
    change(methods, "('computed',)", "('computed', 'methods.nowhere')")
    with pytest.raises(UserError, match=r"'sources' of Scaled names methods\.nowhere"):
        method_sources("scaled")
    change(methods, "('computed', 'methods.nowhere')", "[__name__]")
    with pytest.raises(UserError, match="'sources' of Scaled must be a list"):
        method_sources("scaled")


def test_an_entry_point_to_nothing_is_refused(package: Path) -> None:
    (package / "others/methods_of_ours.py").unlink()
    with pytest.raises(UserError, match=r"cannot find the source code of others\.methods_of_ours"):
        method_sources("scaled")
    with pytest.raises(UserError, match=r"unknown method 'scalde' \(did you mean 'scaled'"):
        method_sources("scalde")


def test_packages_without_a_distribution_are_followed_and_others_have_a_version(
    package: Path,
) -> None:
    methods = package / "others/methods_of_ours.py"
    change(methods, "from methods import METHODS as KNOWN", "import yaml, loose, nowhere_to_be_found\nfrom methods import METHODS as KNOWN")  # fmt: skip  # noqa: E501
    (package / "loose").mkdir()
    (package / "loose" / "__init__.py").write_text("import further\n")
    (package / "further.py").write_text("A = 1\n")
    found = method_sources("scaled")
    assert found.packages["yaml"].startswith("PyYAML ")
    assert found.packages["nowhere_to_be_found"] == ABSENT
    assert {"loose/__init__.py", "further.py"} <= set(found.files)


def test_a_method_file_is_hashed_with_the_modules_beside_it(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "from beside import x\nfrom methods import METHODS, Method\n\n"
        "@METHODS.register('of_a_file')\nclass Own(Method):\n    def prepare(self, model):\n"
        "        import pack.inner\n        return model\n"
    )
    (tmp_path / "beside.py").write_text("x = 1\n")
    (tmp_path / "pack").mkdir()
    for name in ("__init__", "inner", "more"):
        (tmp_path / "pack" / f"{name}.py").write_text("y = 1\n")
    (tmp_path / "unused.py").write_text("z = 1\n")
    found = file_sources(own)
    assert {name for name in found.files if "/" not in name} == {"own.py", "beside.py"}
    assert {"pack/inner.py", "pack/more.py"} <= set(found.files)
    assert set(method_sources("of_a_file", {}, own).files) == set(found.files)
    before = digest(found.files)
    (tmp_path / "beside.py").write_text("x = 2\n")
    assert digest(file_sources(own).files) != before
    with pytest.raises(UserError, match="there is no method file"):
        file_sources(tmp_path / "absent.py")


def test_where_a_package_lies_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name in ("a", "b"):
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(write_package(tmp_path / name)))
            found.append(code_of("scaled"))
    assert found[0] == found[1]


def test_nothing_is_imported_to_find_code() -> None:
    code = (
        "import sys\nfrom benchmarks.records.identity.sources import *\n"
        "assert digest(method_sources('mind').files) != digest(task_sources('detection').files)\n"
        "harness_sources()\n"
        "heavy = {'torch', 'mmengine', 'methods.blocks', 'tasks.detection'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_all_registered_names_have_code() -> None:
    assert sources_module.METHODS is METHODS
    for name in METHODS.names():
        if METHODS._builtin().get(name):
            assert len(method_sources(name).files) > 5
    assert all(len(task_sources(name).files) > 5 for name in TASKS._builtin())
