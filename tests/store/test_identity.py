from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.budget import Budget
from benchmarks.identity import code_fingerprint, run_id
from benchmarks.spec import RunSpec
from tasks.errors import UserError

SPEC = RunSpec(
    suite="mine", profile="smoke", task="classification",
    task_options={"dataset": "Digits/8x8", "arch": "small"}, method="replacement",
    method_options={"operator": "full", "every": 4}, seed=3, budget=Budget({"epochs": 2}),
)  # fmt: skip


def test_an_id_reads_well_and_does_as_a_folder_name() -> None:
    assert re.fullmatch(r"digits-8x8-replacement-s3-[0-9a-f]{12}", run_id(SPEC, {}))
    assert run_id(SPEC, {}, "mnist").startswith("mnist-replacement-s3-")


def test_names_and_the_order_of_options_make_no_other_run(tmp_path: Path) -> None:
    turned = {"every": 4, "operator": "full"}
    for same in (
        replace(SPEC, suite="other"),
        replace(SPEC, label="RepL"),
        replace(SPEC, method_options=turned),
    ):
        assert run_id(same, {"a": 1, "b": 2}) == run_id(SPEC, {"b": 2, "a": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"method_options": {"operator": "light", "every": 4}},
        {"task_options": {"dataset": "Digits/8x8", "arch": "large"}},
        {"budget": Budget({"epochs": 3})},
        {"budget": Budget({"steps": 2})},
        {"recipe": {"batch_size": 8}},
        {"profile": "short"},
        {"device": "cpu"},
        {"validate_every": 2},
        {"threads": 1},
    ],
)
def test_whatever_can_change_a_number_makes_another_run(change: dict[str, object]) -> None:
    assert run_id(replace(SPEC, **change), {}) != run_id(SPEC, {})
    assert run_id(SPEC, {"torch": "2"}) != run_id(SPEC, {"torch": "3"})


def test_the_code_of_a_method_file_counts_and_not_its_place(tmp_path: Path) -> None:
    here, there = tmp_path / "a" / "own.py", tmp_path / "b" / "own.py"
    for path in (here, there):
        path.parent.mkdir()
        path.write_text("x = 1\n")
    first = run_id(replace(SPEC, method_file=str(here)), {})
    assert first != run_id(SPEC, {})
    assert first == run_id(replace(SPEC, method_file=str(there)), {})
    there.write_text("x = 2\n")
    assert first != run_id(replace(SPEC, method_file=str(there)), {})


def test_code_is_the_same_wherever_it_lies_and_in_whatever_order(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "work.py").write_text("a = 1\n")
    (package / "notes.txt").write_text("no code")
    single = tmp_path / "single.py"
    single.write_text("b = 1\n")
    before = code_fingerprint([package, single])
    assert before == code_fingerprint([single, package])
    copy = shutil.copytree(package, tmp_path / "elsewhere" / "package")
    assert before == code_fingerprint([copy, single])
    (package / "notes.txt").write_text("other")
    assert before == code_fingerprint([package, single])
    (package / "inner" / "work.py").rename(package / "work.py")
    moved = code_fingerprint([package, single])
    assert before != moved
    (package / "work.py").write_text("a = 2\n")
    assert moved != code_fingerprint([package, single])


def test_modules_are_hashed_without_being_imported() -> None:
    code = (
        "import sys; from benchmarks.identity import code_fingerprint as f\n"
        "assert f(['methods']) != f(['methods.base']) != f(['methods.blocks'])\n"
        "assert 'torch' not in sys.modules and 'methods.blocks' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("source", ["methods.nothing", "no_such_package", Path("absent.py")])
def test_absent_code_is_a_user_error(source: str | Path) -> None:
    with pytest.raises(UserError, match="cannot read the source code"):
        code_fingerprint([source])
