"""A method of somebody else: a file, or an entry point of another distribution."""

from __future__ import annotations

import os

import pytest
from end_to_end.end_to_end_helpers import command, rows, write_suite

HALF_DEPTH = '''\
from dataclasses import dataclass

from methods import METHODS, Method, block_view


@METHODS.register("half_depth")
@dataclass
class HalfDepth(Method):
    """Every second shape-preserving block removed."""

    keep_first: int = 0
    metrics = {"blocks_left": "count"}

    def prepare(self, model):
        preserving = [b for b in block_view(model) if b.shape_preserving]
        for block in preserving[self.keep_first :: 2]:
            block.drop()
        return model

    def analyse(self, variant, model, batches):
        return {"blocks_left": len(block_view(model)), "images": sum(1 for _ in batches)}
'''


IDLE = '''

@METHODS.register("idle")
class Idle(Method):
    """Does nothing."""

    def prepare(self, model):
        return model
'''


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folder of a suite with methods of a file that has run, and the ended command."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "mine.py").write_text(HALF_DEPTH + IDLE)
    suite = write_suite(
        folder,
        methods="[end_to_end, half_depth, {half_depth: {keep_first: 1}}, idle]",
        task="{dataset: digits, arch: cifar_resnet14}",
    )
    return folder, command("run", str(suite), "--method-file", "mine.py", cwd=folder)


def test_a_method_file_registers_runs_and_shows_in_the_table(ran):
    assert len(HALF_DEPTH.splitlines()) < 40
    folder, done = ran
    assert done.returncode == 0, done.stderr
    assert "half_depth(keep_first=1)" in done.stdout
    found = rows(folder / "results" / "tiny")
    parameters = {row["method"]: float(row["value"]) for row in found if row["metric"] == "params"}
    # One block less of 16 channels (2 convolutions, 2 norms) and one of 64 or of 32.
    left = [row for row in found if row["metric"] == "blocks_left"]
    assert [(row["value"], row["unit"], row["variant"]) for row in left] == [
        ("4.0", "count", "full")
    ] * 2
    table = command("report", "results/tiny", "--metric", "blocks_left", cwd=folder)
    assert "blocks left" in table.stdout
    plain = parameters["end_to_end"]
    block = {c: 2 * (9 * c * c + 2 * c) for c in (16, 32, 64)}
    assert plain - parameters["half_depth"] == block[16] + block[32]
    assert plain - parameters["half_depth(keep_first=1)"] == block[16] + block[64]


def test_a_method_that_changes_nothing_is_pointed_out(ran):
    _, done = ran
    assert "idle seed 0: warning: the method changed nothing" in done.stdout
    assert "half_depth seed 0: warning" not in done.stdout


def test_an_entry_point_is_listed_and_found(tmp_path):
    (tmp_path / "others.py").write_text(HALF_DEPTH)
    info = tmp_path / "others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[depthbench.methods]\nhalf_depth = others:HalfDepth\n")
    inherited = os.environ.get("PYTHONPATH", "")
    path = {"PYTHONPATH": os.pathsep.join([str(tmp_path), inherited]).rstrip(os.pathsep)}
    listed = command("list", cwd=tmp_path, env=path)
    assert "half_depth" in listed.stdout
    suite = write_suite(tmp_path, methods="[half_depth]")
    done = command("run", str(suite), cwd=tmp_path, env=path)
    assert done.returncode == 0, done.stderr
    assert "half_depth" in (tmp_path / "results" / "tiny" / "table.md").read_text()
