"""The command and the pytest tests as the author of a method uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import warm

from benchmarks.cli.check import read_options
from benchmarks.conformance.checking import CHECK_NAMES
from tasks.errors import UserError

ROOT = Path(__file__).parents[2]
SHALLOWER = '''\
from methods import METHODS, Method, block_view


@METHODS.register("shallower")
class Shallower(Method):
    """The blocks that keep their shape left out."""

    def __init__(self, keep=0):
        self.keep = keep

    def prepare(self, model):
        for block in [b for b in block_view(model) if b.shape_preserving][self.keep:]:
            block.drop()
        return model
'''
IDLE = '''\
from methods import METHODS, Method


@METHODS.register("idle")
class Idle(Method):
    """Nothing."""

    def prepare(self, model):
        return model
'''


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=280,
    )


def depthbench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return warm.run("check", *arguments, cwd=cwd, env=env)


def test_a_file_of_methods_is_checked_one_by_one_and_a_failure_is_exit_code_1(tmp_path):
    (tmp_path / "mine.py").write_text(SHALLOWER + IDLE)
    done = depthbench("mine.py", "--epochs", "1", "--json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    idle, shallower = document["methods"]
    assert (idle["method"], shallower["method"]) == ("idle", "shallower")
    failed = {c["check"]: c["fix"] for c in idle["checks"] if c["status"] == "failed"}
    assert "prepare() acts on this network" in failed["changes"]
    assert not document["passed"]
    statuses = {c["check"]: c["status"] for c in shallower["checks"]}
    assert statuses["changes"] == statuses["resumes"] == "passed"
    (params,) = (f for f in shallower["figures"] if f["metric"] == "params")
    # One block of 16 channels: 2 convolutions of 3x3 and 2 norms.
    assert params["end_to_end"] - params["method"] == 2 * (9 * 16 * 16 + 2 * 16)


def test_a_method_that_passes_is_reported_in_lines_and_exit_code_0(tmp_path):
    (tmp_path / "mine.py").write_text(SHALLOWER)
    told = ("shallower", "--method-file", "mine.py", "--option", "keep=0", "--epochs", "2")
    told += ("--arch", "{name: cifar_resnet8, width: 12}")
    done = depthbench(*told, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(
        "shallower(keep=0) on digits, cifar_resnet8 (width 12), 2 epochs\n"
    )
    assert "  pass  repeats" in done.stdout
    assert f"{len(CHECK_NAMES)} passed in " in done.stdout
    assert done.stderr == ""


def test_options_are_read_as_in_a_suite_file():
    told = ["every=2", "operator=full", "blocks=[3, 6]", "max_depth=null", "mode=a=b"]
    assert read_options(told) == {
        "every": 2,
        "operator": "full",
        "blocks": [3, 6],
        "max_depth": None,
        "mode": "a=b",
    }
    for unreadable in ("every", "=2", "blocks=[3"):
        with pytest.raises(UserError, match="cannot read the option"):
            read_options([unreadable])


@pytest.mark.slow
def test_two_lines_make_a_pytest_test_of_every_check(tmp_path):
    (tmp_path / "mine.py").write_text(IDLE)
    (tmp_path / "test_mine.py").write_text(
        "from benchmarks.conformance.plugin import conforms\n\n"
        "test_mine = conforms('mine.py', epochs=2)\n"
    )
    done = python("-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert f"{len(CHECK_NAMES) - 1} passed" in done.stdout
    assert "1 failed" in done.stdout
    assert "FAILED test_mine.py::test_mine[idle-changes]" in done.stdout
    assert "PASSED test_mine.py::test_mine[idle-resumes]" in done.stdout
    assert "fix: see that prepare() acts on this network" in done.stdout


def test_the_help_has_an_example_and_needs_no_torch(tmp_path):
    code = (
        "import sys\nfrom benchmarks.cli import app\n"
        "try:\n    app(['check-method', '--help'], prog_name='depthbench')\n"
        "finally:\n    assert 'torch' not in sys.modules\n"
    )
    done = python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Example: depthbench check" in done.stdout
