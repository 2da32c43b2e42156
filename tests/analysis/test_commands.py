"""``depthbench compare``, with and without ``--against``, as users and CI run them."""

from __future__ import annotations

import csv
import io
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cli.test_command import ROOT, depthbench, one_error
from compare_helpers import Conditions, Values, seeds, write_folder

PUBLISHED = ROOT / "results" / "published"
BEFORE: Values = {
    "plain": {"top1": seeds(90.0, 90.5, 91.0), "params_inference": seeds(1000, 1000, 1000)},
    "ours": {"top1": seeds(92.0, 92.5, 93.0), "params_inference": seeds(900, 900, 900)},
}


def test_the_published_quickstart_says_what_its_seeds_show() -> None:
    done = depthbench("compare", PUBLISHED / "quickstart")
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    title, *_ = lines
    assert title == (
        "digits, cifar_resnet26; seeds 0, 1, 2; AMD EPYC, 1 thread; float32; profile smoke; "
        "4 epochs; compared with end_to_end"
    )
    for line in (
        "top-1 ↑ (%) depth_matched full 3 98.26 98.08 +0.18 (−1.53 to +1.90) 0.69 "
        "no difference shown; 112 more seeds might do",
        "params (deployed) ↓ (k) depth_matched full 3 269.4 366.6 0.735× – better (exact)",
        "peak RSS ↓ (MiB) depth_matched 3 585.9 588.2 0.996× (0.992 to 0.9998) 0.046 better",
        "training time ↓ (s) depth_matched 3 5.119 6.456 0.792× (0.588 to 1.066) – not judged [1]",
        "replacement 3 6.190 6.456 0.959× (0.920 to 0.99993) 0.05 better",
        "note: CPU energy: not measured (no RAPL domain on this machine)",
    ):
        assert line in lines


def test_json_holds_what_the_text_shows() -> None:
    done = depthbench("compare", PUBLISHED / "quickstart", "--metric", "top1", "--json")
    told = json.loads(done.stdout)
    assert told["baseline"] == "end_to_end"
    first = told["comparisons"][0]
    assert (first["method"], first["verdict"], first["seeds"]) == (
        "depth_matched",
        "no difference shown",
        [0, 1, 2],
    )
    assert first["difference"]["t_interval"] == pytest.approx([-1.53, 1.90], abs=0.005)
    assert first["more_seeds"] == pytest.approx(111, abs=1)


def test_published_results_of_one_seed_have_no_interval() -> None:
    error = one_error(depthbench("compare", PUBLISHED / "papers-smoke-mnist"))
    assert "no method has two seeds in common with end_to_end, so there is no interval" in error


def test_published_results_of_several_tasks_are_ranked() -> None:
    folders = [PUBLISHED / name for name in ("papers-smoke", "papers-smoke-mnist")]
    done = depthbench("compare", *folders, "--metric", "top1")
    assert done.returncode == 0, done.stderr
    assert "top-1, ranked over 3 tasks (digits/cifar_resnet26(width=8), " in done.stdout
    assert "[1] only one seed that both have: run more" in done.stdout


def test_refusals_are_one_sentence(tmp_path: Path) -> None:
    a = write_folder(tmp_path / "a", {"plain": BEFORE["plain"]})
    b = write_folder(tmp_path / "b", {"ours": BEFORE["ours"]}, Conditions(hardware="A GPU"))
    arguments = ("compare", a, b, "--baseline", "plain")
    assert "differ in hardware (Some CPU, 1 thread in " in one_error(depthbench(*arguments))
    done = depthbench(*arguments, "--allow", "hardware")
    assert done.returncode == 0, done.stderr
    assert "Some CPU, 1 thread and A GPU, 1 thread" in done.stdout
    assert "note: the runs of digits, small differ in hardware: " in done.stdout
    nowhere = one_error(depthbench("compare", tmp_path / "c"))
    assert "name a folder that 'depthbench run' has written to" in nowhere


def test_the_reference_of_the_checkout_is_that_of_the_published_quickstart(tmp_path: Path) -> None:
    file = tmp_path / "main.csv"
    depthbench("compare", PUBLISHED / "quickstart", "--against", file, "--write")
    assert file.read_bytes() == (ROOT / "results" / "main.csv").read_bytes(), (
        "write it with: depthbench compare results/published/quickstart --against results/main.csv "
        "--write"
    )


def test_help_has_an_example_of_each_question() -> None:
    told = depthbench("compare", "--help").stdout
    assert "Example: depthbench compare results/quickstart" in told
    assert "--against results/main.csv" in told


def test_the_exit_code_of_the_gate_is_for_ci(tmp_path: Path) -> None:
    main = tmp_path / "main.csv"
    before = write_folder(tmp_path / "before", BEFORE)
    worse = {**BEFORE, "ours": {**BEFORE["ours"], "top1": seeds(80.0, 80.5, 81.0)}}
    noise = {**BEFORE, "ours": {**BEFORE["ours"], "top1": seeds(91.8, 92.4, 92.9)}}
    fatter = {**BEFORE, "ours": {**BEFORE["ours"], "params_inference": seeds(901, 901, 901)}}
    folders = {
        "worse": write_folder(tmp_path / "worse", worse),
        "noise": write_folder(tmp_path / "noise", noise),
        "fatter": write_folder(tmp_path / "fatter", fatter),
        "vanished": write_folder(tmp_path / "vanished", {"plain": BEFORE["plain"]}),
    }
    assert "--write'" in one_error(depthbench("compare", before, "--against", main))
    done = depthbench("compare", before, "--against", main, "--write")
    assert (done.returncode, done.stdout) == (0, f"wrote 4 lines of mine to {main}\n")
    ends = {name: depthbench("compare", f, "--against", main) for name, f in folders.items()}
    assert {name: end.returncode for name, end in ends.items()} == {
        "worse": 1, "noise": 0, "fatter": 1, "vanished": 1,
    }  # fmt: skip
    assert depthbench("compare", before, "--against", before).returncode == 0
    assert "gate failed: 4 judged, 1 worse." in ends["worse"].stdout
    told = json.loads(depthbench("compare", folders["worse"], "--against", main, "--json").stdout)
    assert not told["passed"]
    assert told["checks"][0]["verdict"] == "worse"
    assert told["checks"][0]["before"] == {"0": 92.0, "1": 92.5, "2": 93.0}


def modules_of(*commands: list[str]) -> set[str]:
    """What is imported by commands that succeed."""
    program = (
        "import contextlib, io, sys; from benchmarks.cli import app\n"
        f"for words in {list(commands)!r}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()):\n"
        "        try: app(words)\n"
        "        except SystemExit as end: assert not end.code\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_neither_verb_imports_torch_and_scipy_only_where_something_is_tested(
    tmp_path: Path,
) -> None:
    folder = str(write_folder(tmp_path / "results", BEFORE))
    compare, gate = ["compare", folder], ["compare", folder, "--against", folder]
    counts = ["--metric", "params_inference"]
    untested = modules_of([*compare, *counts], [*gate, *counts], ["list"])
    assert not {"torch", "scipy"} & untested
    tested = modules_of(compare, gate)
    assert "scipy.stats" in tested
    assert "torch" not in tested


@pytest.mark.slow
def test_ten_thousand_runs_are_compared_in_seconds(tmp_path: Path) -> None:
    rows, manifest, plan = quickstart_run()
    lines, planned = [rows[0]], []
    header = ",".join(rows[0]) + "\n"
    for dataset in range(100):
        for number in range(20):
            method = "end_to_end" if number == 0 else f"method{number}"
            for seed in range(5):
                run_id = f"{dataset}-{method}-s{seed}"
                planned.append({"run_id": run_id, "label": method, "seed": seed,
                                "baseline": number == 0})  # fmt: skip
                own = []
                for k, cells in enumerate(rows[1:]):
                    cells = [*cells]
                    cells[1], cells[3], cells[5], cells[7] = (
                        run_id, f"data{dataset}", method, str(seed),
                    )  # fmt: skip
                    if cells[10]:
                        cells[10] = repr(float(cells[10]) * (1 + (seed * number * 7 + k) % 11 / 99))
                    own.append(cells)
                lines += own
                folder = tmp_path / "runs" / run_id
                folder.mkdir(parents=True)
                (folder / "rows.csv").write_text(header + "\n".join(map(",".join, own)) + "\n")
                told = {"run_id": run_id, "spec": {**manifest["spec"], "seed": seed}}
                (folder / "manifest.json").write_text(json.dumps({**manifest, **told}))
    (tmp_path / "rows.csv").write_text("\n".join(map(",".join, lines)) + "\n")
    (tmp_path / "plan.json").write_text(json.dumps({**plan, "runs": planned}))
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = depthbench("compare", tmp_path)
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("compared with end_to_end") == 100
    # What reading the files alone takes here: processors differ threefold. 10,000 runs take about
    # 5 times that; what grows faster than the number of runs takes far more.
    began = time.process_time()
    for path in tmp_path.glob("runs/*"):
        json.loads((path / "manifest.json").read_bytes())
        list(csv.reader(io.StringIO((path / "rows.csv").read_text())))
    reading = time.process_time() - began
    assert seconds < 15 * reading


def quickstart_run() -> tuple[list[list[str]], dict[str, Any], dict[str, object]]:
    """The rows and the manifest of a real run, and the plan that it belongs to."""
    folder = next((PUBLISHED / "quickstart" / "runs").glob("digits-cifar_resnet26-end_to_end-s0-*"))
    rows = [line.split(",") for line in (folder / "rows.csv").read_text().splitlines()]
    plan = json.loads((PUBLISHED / "quickstart" / "plan.json").read_text())
    manifest = json.loads((folder / "manifest.json").read_text())
    for each in (manifest, plan):  # as before runs had digests
        each.pop("schema", None), each.pop("sha256", None)
    return [r for r in rows if len(r) == len(rows[0])], manifest, plan
