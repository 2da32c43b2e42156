"""The scripts behind the workflows, as they run on any machine."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITE = """\
name: tiny
profile: smoke
task: {dataset: digits, arch: {name: cifar_resnet8, width: 8}, train_size: 256}
methods: [end_to_end]
seeds: [0]
budget: {epochs: 1}
device: cpu
threads: 1
"""


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def script(name: str, *arguments: str | Path, cwd: Path, **environment: str):
    """Run a script of ``.ci/`` with the commands of ``cwd/bin`` in front."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("GITHUB_")}
    return subprocess.run(
        ["bash", str(ROOT / ".ci" / name), *map(str, arguments)],
        cwd=cwd,
        env=variables | {"PATH": f"{cwd / 'bin'}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.slow
def test_a_suite_is_run_gated_and_published_and_a_worse_one_fails(tmp_path: Path) -> None:
    executable(
        tmp_path / "bin" / "depthbench", f'#!/bin/sh\nexec {sys.executable} -m benchmarks "$@"\n'
    )
    (tmp_path / "tiny.yaml").write_text(SUITE)
    summary = tmp_path / "summary.md"
    done = script(
        "publish", "tiny.yaml", "out", "2", cwd=tmp_path, GITHUB_STEP_SUMMARY=str(summary)
    )
    assert done.returncode == 0, done.stderr
    assert "results/main.csv has no tiny yet" in done.stdout
    results = tmp_path / "results"
    with open(results / "main.csv", newline="") as file:
        reference = list(csv.DictReader(file))
    assert {(line["suite"], line["method"]) for line in reference} == {("tiny", "end_to_end")}
    page = (results / "README.md").read_text()
    assert "- Runs: 2, seeds 0, 1." in page
    assert "`main.csv` is what" in page
    site = tmp_path / "out" / "site"
    assert (site / "results" / "README.md").read_text() == page
    report = (site / "benchmark" / "index.html").read_text()
    runs = list(results.glob("published/tiny/runs/*"))
    assert len(runs) == 2
    for run in runs:
        link = f"../results/published/tiny/runs/{run.name}/manifest.json"
        assert link in report
        assert (site / "benchmark" / link).resolve().is_file()
    text = summary.read_text()
    assert text.startswith("## tiny\nSuite tiny; digits;")
    assert "| end_to_end |" in text
    assert "has no tiny yet" in text

    # The same runs against a reference that is better: told, red, and not taken over.
    for line in reference:
        if line["metric"] == "macs":
            line["values"] = " ".join(f"{seed}=1.0" for seed in range(2))
    with open(results / "main.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, reference[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(reference)
    before = (results / "main.csv").read_bytes()
    done = script("publish", "tiny.yaml", "out", "2", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "gate failed" in done.stdout
    assert "gate failed" in (tmp_path / "out" / "summary.md").read_text()
    assert (results / "main.csv").read_bytes() == before
    assert summary.read_text() == text


def test_a_suite_that_is_not_there_ends_the_script_with_its_sentence(tmp_path: Path) -> None:
    executable(
        tmp_path / "bin" / "depthbench", f'#!/bin/sh\nexec {sys.executable} -m benchmarks "$@"\n'
    )
    done = script("publish", "quickstrat", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'quickstart'" in done.stderr
    assert not (tmp_path / "results").exists()


GH = """\
#!/bin/sh
echo "$@" >> "$GH_LOG"
case "$1 $2" in
    "pr list") echo "$GH_OPEN" ;;
esac
"""


def git(*arguments: str, cwd: Path) -> str:
    command = ["git", "-c", "user.name=me", "-c", "user.email=me@example.org", *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git("init", "--quiet", "--bare", "--initial-branch=main", "origin.git", cwd=tmp_path)
    git("clone", "--quiet", "origin.git", "checkout", cwd=tmp_path)
    folder = tmp_path / "checkout"
    git("switch", "--quiet", "--force-create", "main", cwd=folder)
    (folder / "results").mkdir()
    (folder / "results" / "README.md").write_text("old\n")
    git("add", "results", cwd=folder)
    git("commit", "--quiet", "-m", "first", cwd=folder)
    git("push", "--quiet", "origin", "main", cwd=folder)
    executable(folder / "bin" / "gh", GH)
    return folder


def test_changed_results_become_one_pull_request(checkout: Path) -> None:
    new = checkout.parent / "new"
    (new / "published").mkdir(parents=True)
    shutil.copy(checkout / "results" / "README.md", new)
    log, body = checkout.parent / "gh.log", checkout.parent / "gate.txt"
    body.write_text("gate passed\n")
    same = script("pull-request", new, body, cwd=checkout, GH_LOG=str(log), GH_OPEN="0")
    assert same.returncode == 0, same.stderr
    assert same.stdout == "results are up to date\n"
    assert not log.exists()

    (new / "README.md").write_text("new\n")
    (new / "published" / "rows.json").write_text(json.dumps([1]))
    done = script("pull-request", new, body, cwd=checkout, GH_LOG=str(log), GH_OPEN="0")
    assert done.returncode == 0, done.stderr
    told = log.read_text().splitlines()
    assert told[0].startswith("pr list --head benchmark-results")
    assert told[1] == (
        "pr create --base main --head benchmark-results --title Update the published results "
        f"--body-file {body}"
    )
    origin = checkout.parent / "origin.git"
    assert git("show", "benchmark-results:results/README.md", cwd=origin) == "new\n"
    assert git("show", "benchmark-results:results/published/rows.json", cwd=origin) == "[1]"
    assert git("show", "main:results/README.md", cwd=origin) == "old\n"
    changed = git("diff", "--name-only", "main", "benchmark-results", cwd=origin).split()
    assert changed == ["results/README.md", "results/published/rows.json"]

    # Another run while that is open: the branch moves, and no second request is made.
    git("switch", "--quiet", "main", cwd=checkout)
    (new / "README.md").write_text("newer\n")
    done = script("pull-request", new, body, cwd=checkout, GH_LOG=str(log), GH_OPEN="1")
    assert done.returncode == 0, done.stderr
    assert log.read_text().splitlines()[-1] == f"pr edit benchmark-results --body-file {body}"
    assert git("show", "benchmark-results:results/README.md", cwd=origin) == "newer\n"
