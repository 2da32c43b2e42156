"""The command and the pytest tests as the author of a method uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TWO_METHODS = '''\
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
    return python("-m", "benchmarks", "check-method", *arguments, cwd=cwd)


def test_a_file_of_methods_is_checked_one_by_one_and_a_failure_is_exit_code_1(tmp_path):
    (tmp_path / "mine.py").write_text(TWO_METHODS)
    done = depthbench("mine.py", "--epochs", "2", "--json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    idle, shallower = document["methods"]
    assert (idle["method"], shallower["method"]) == ("idle", "shallower")
    assert [c["check"] for c in idle["checks"] if c["status"] == "failed"] == ["changes"]
    assert shallower["passed"]
    assert not document["passed"]
    (params,) = (f for f in shallower["figures"] if f["metric"] == "params")
    # One block of 16 channels: 2 convolutions of 3x3 and 2 norms.
    assert params["end_to_end"] - params["method"] == 2 * (9 * 16 * 16 + 2 * 16)


def test_a_method_that_passes_is_reported_in_lines_and_exit_code_0(tmp_path):
    (tmp_path / "mine.py").write_text(TWO_METHODS)
    told = ("shallower", "--method-file", "mine.py", "--option", "keep=0", "--epochs", "2")
    done = depthbench(*told, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("shallower(keep=0) on digits, cifar_resnet8, 2 epochs\n")
    assert "  pass  repeats" in done.stdout
    assert "11 passed in " in done.stdout
    assert done.stderr == ""


def test_an_option_that_cannot_be_read_is_one_sentence(tmp_path):
    for option, sentence in (("every", "write it as --option every=2"), ("evry=2", "'every'?")):
        done = depthbench("checkpointing", "--option", option, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert sentence in done.stderr
        assert done.stdout == ""


def test_two_lines_make_a_pytest_test_of_every_check(tmp_path):
    (tmp_path / "mine.py").write_text(TWO_METHODS)
    (tmp_path / "test_mine.py").write_text(
        "from benchmarks.conformance.plugin import conforms\n\ntest_mine = conforms('mine.py')\n"
    )
    done = python("-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "21 passed" in done.stdout
    assert "1 failed" in done.stdout
    assert "FAILED test_mine.py::test_mine[idle-changes]" in done.stdout
    assert "PASSED test_mine.py::test_mine[shallower-resumes]" in done.stdout
    assert "to mend: see that prepare() acts on this network" in done.stdout
