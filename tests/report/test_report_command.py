"""``depthbench report`` from the outside, and what it costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import warm
from report.made_results import Made, make

ROOT = Path(__file__).parents[2]
IMPORTED = "print(*(m for m in ('torch', 'mmengine', 'matplotlib') if m in sys.modules))"


def python(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        check=False,
    )


def report(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return warm.run("report", *arguments, cwd=cwd, env=env)


def test_json_lists_the_files(tmp_path: Path) -> None:
    make(tmp_path / "r")
    done = report(tmp_path / "r", "--json", "--format", "md,csv", "--figures", "1")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [Path(file).relative_to(tmp_path / "r/report").as_posix() for file in told["files"]] == [
        "report.md",
        "report.csv",
        "figures/digits-top1-parameters.png",
    ]
    assert all(Path(file).is_file() for file in told["files"])
    assert any("RAPL" in sentence or "--figures" in sentence for sentence in told["left_out"])


def test_several_folders_are_reported_where_the_command_is_given(tmp_path: Path) -> None:
    make(tmp_path / "a")
    make(tmp_path / "b", Made(suite="other", salt="-b"))
    done = report("a", "b", "--page", "--format", "csv", "--metric", "top1,ece:val", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["report/report.csv"]
    text = (tmp_path / "report/report.csv").read_text()
    assert {line.split(",")[9] for line in text.splitlines()[1:]} == {"top1", "ece"}


def test_help_has_an_example() -> None:
    assert "Example: depthbench report results/quickstart" in report("--help").stdout


def test_a_mistake_is_one_sentence(tmp_path: Path) -> None:
    make(tmp_path / "r")
    for arguments, told in (
        ([tmp_path / "absent"], "name a folder that 'depthbench run' has written to"),
        ([tmp_path / "r", "--metric", "topp1"], "did you mean 'top1'"),
        ([tmp_path / "r", "--format", "doc"], "unknown format 'doc'"),
    ):
        done = report(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert told in done.stderr


def test_reading_results_imports_no_torch(tmp_path: Path) -> None:
    make(tmp_path / "r")
    for formats, imported in (("('csv',)", ""), ("('md', 'latex', 'csv', 'html')", "matplotlib")):
        script = (
            "import sys; from pathlib import Path; "
            "from benchmarks.report.build import write_report; "
            f"write_report([Path('r')], Path('out'), {formats}, (), 0); {IMPORTED}"
        )
        done = python("-c", script, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == imported


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_seconds(tmp_path: Path) -> None:
    methods = {f"method_{i}": {"super": 1.0, "a": 0.8, "b": 0.6, "base": 0.4} for i in range(25)}
    datasets = ("one", "two", "three", "four")
    store = make(tmp_path / "r", Made(methods, range(10), datasets, gpu=True, extra=14))
    assert store.rows_path.read_bytes().count(b"\n") > 100_000
    start = time.monotonic()
    done = report(tmp_path / "r", "--json")
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    # Under 10 s on two idle cores; the limit leaves room for a machine that is shared.
    assert seconds < 60
    page = tmp_path / "r/report/report.html"
    assert page.stat().st_size < 8e6
