"""``depthbench reproduce`` on real digits, and what it says to those who mistype."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import warm

from benchmarks.launch.server import resolve
from benchmarks.papers.judging import judge_items
from benchmarks.papers.plan_report import plan_document, print_plan
from benchmarks.papers.planning import Reproduction, plan_reproduction
from benchmarks.papers.report import markdown
from benchmarks.papers.routes import Setting
from benchmarks.papers.routing import select_claims
from benchmarks.records.store import Plan, Store
from tasks.errors import UserError

ROOT = Path(__file__).parents[2]
ROWS = ("--row", "resnet18-cifar", "--row", "end_to_end")


def reproduce(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return warm.run("reproduce", *arguments, cwd=cwd, env=env)


@pytest.mark.slow
def test_a_table_is_run_once_and_printed_beside_its_claims(tmp_path: Path) -> None:
    asked = ("odn", "--table", "I", "--profile", "smoke", *ROWS, "--row", "mnist")
    plan = reproduce(*asked, "--plan", "--json", cwd=tmp_path)
    assert plan.returncode == 0, plan.stderr
    (planned,) = json.loads(plan.stdout)["runs"]
    assert (planned["dataset"], planned["state"]) == ("digits", "absent")
    assert planned["estimated_seconds"] > 0
    assert json.loads(plan.stdout)["cpu_hours"] > 0
    assert list(tmp_path.iterdir()) == []  # nothing is written before anything is spent

    done = reproduce(*asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results" / "reproduce-odn-smoke"
    (line,) = [each for each in done.stdout.splitlines() if "top1" in each]
    assert "99.61" in line
    assert "not comparable" in line
    assert "data digits (paper: mnist)" in " ".join(done.stdout.split())
    assert (results / "reproduction.md").read_text().count("\n| I ") == 4

    again = reproduce(*asked, "--json", "--strict", cwd=tmp_path)
    document = json.loads(again.stdout)
    assert again.returncode == 0  # what is pickled decides the last digit of 44.78 MB
    assert (document["ran"], document["finished"], document["runs"]) == (0, 1, 1)
    (found,) = [each for each in document["claims"] if each["metric"] == "top1"]
    assert found["runs"] == [planned["run_id"]]
    with open(results / "runs" / planned["run_id"] / "rows.csv", newline="") as file:
        (measured,) = [
            row["value"]
            for row in csv.DictReader(file)
            if (row["metric"], row["phase"]) == ("top1", "test_best")
        ]
    assert found["measured"] == float(measured)
    assert found["difference"] == pytest.approx(float(measured) - 99.61)
    with open(results / "reproduction.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["verdict"] for row in written] == [c["verdict"] for c in document["claims"]]
    assert {row["profile"] for row in written} == {"smoke"}


def test_a_contradicted_figure_fails_a_strict_command(tmp_path: Path) -> None:
    asked = (
        "swn",
        "--table",
        "2",
        "--profile",
        "smoke",
        "--row",
        "deep ensemble",
        "--row",
        "params",
    )
    assert reproduce(*asked, cwd=tmp_path).returncode == 0
    strict = reproduce(*asked, "--strict", cwd=tmp_path)
    assert strict.returncode == 1
    assert "1 claims: 1 contradicted" in strict.stdout + strict.stderr


class InProcess:
    """Stands for the fork server: runs the work here, where a test can look at it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def call(self, function: str, *args: Any, log: Path) -> Any:
        self.calls.append(function)
        return resolve(function)(*args, lambda event: None)


def planned(
    paper: str,
    *rows: str,
    table: str | None = None,
    profile: str = "paper",
    controls: bool = False,
) -> Any:
    server = InProcess()
    setting = Setting(profile, device="cpu")
    made = Reproduction(paper, table, setting, (0, 1), with_controls=controls)
    claims = select_claims(paper, table, rows)
    return plan_reproduction(server, made, claims, frozenset()), server  # type: ignore[arg-type]


def test_controls_are_run_where_they_are_asked_for_and_settle_no_claim() -> None:
    asked = ("odn", "mnist", "optimal_depth", "top1")
    plain, _ = planned(*asked, profile="smoke")
    made, _ = planned(*asked, profile="smoke", controls=True)
    assert [job.run_id for job in plain.jobs] == [j.run_id for i in made.items for j in i.jobs]
    assert plain.controls == []
    specs = [job.planned["spec"] for job in made.controls]
    assert {spec["seed"] for spec in specs} == {0, 1}
    (search, _) = (job.planned["spec"] for job in plain.jobs)
    assert all(spec["budget"] == search["budget"] for spec in specs)
    alone, without = specs[0], next(s for s in specs if "fixed_depth" not in s["method_options"])
    assert alone["method_options"] == {"fixed_depth": 2}  # the depth that the paper found
    assert without["method_options"] == {**search["method_options"], "warmup_epochs": 0}
    assert {job.run_id for job in made.jobs} > {job.run_id for job in plain.jobs}


@pytest.fixture
def empty_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEPTHBENCH_DATA", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return tmp_path


def test_data_that_is_not_at_hand_leaves_its_rows_not_run(empty_root: Path) -> None:
    made, server = planned("adn", "resnet50", "top1", table="1")
    findings = judge_items(made.items, {})
    assert {found.verdict for found in findings} == {"not run"}
    assert len(findings) == 4
    for found in findings:
        assert str(empty_root / "imagenet") in found.reason
    assert made.jobs == []
    assert len(server.calls) == 1  # one look at absent data is enough for three methods


def test_absent_coco_says_what_to_provide(empty_root: Path) -> None:
    made, _ = planned("adn", "faster_rcnn_r50_fpn", "box_ap", table="5")
    (reason,) = {found.reason for found in judge_items(made.items, {})}
    assert "coco" in reason
    assert str(empty_root) in reason


def test_what_a_method_refuses_concerns_its_own_rows_alone(
    empty_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import benchmarks.papers.swn

    monkeypatch.setattr(benchmarks.papers.swn, "SMALL_BUDGET", 1_000)
    made, _ = planned("swn", "*budget 7M", table="3", profile="smoke")
    single, conflict, mixed = made.items
    assert (len(single.jobs), len(conflict.jobs), mixed.jobs) == (2, 2, ())
    assert "max_params=1,000 is below the minimum" in mixed.missing
    assert [job.seed for job in made.jobs] == [0, 0, 1, 1]  # first seeds first


def test_a_plan_tells_what_no_run_can_settle(
    empty_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, _ = planned("mind", "fpi_iterations", profile="smoke")
    store = Store(tmp_path / "results")
    for claim in plan_document(made, store)["claims"]:
        assert "the paper's network is not known" in claim["never_comparable"]
    print_plan(made, store)
    assert "the profile smoke gives no verdict" in capsys.readouterr().out
    made.setting = Setting("paper")
    print_plan(made, store)
    assert "3 will be run and not be comparable: " in capsys.readouterr().out


def test_a_plan_tells_the_claims_without_a_run(empty_root: Path, tmp_path: Path) -> None:
    made, _ = planned("repl")
    document = plan_document(made, Store(tmp_path / "results"))
    assert document["runs"] == []
    assert {each["verdict"] for each in document["claims"]} == {"not comparable"}
    assert "2 not comparable" in markdown(made, judge_items(made.items, {}))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("odm",), "unknown paper 'odm' (did you mean 'odn'?)"),
        (("odn", "--table", "II"), "unknown table of odn 'II'"),
        (("odn", "--row", "mnst"), "no row of odn matches 'mnst'"),
        (("odn", "--seeds", "0"), "--seeds is 0: give a number of at least 1"),
        (("odn", "--profile", "paper", "--seeds", "1"), "takes an interval, and one seed has none"),
        (("odn", "--data-root", "nowhere"), "there is no folder nowhere"),
    ],
)
def test_mistakes_are_told_in_one_sentence(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer.testing

    from benchmarks.cli import app

    done = typer.testing.CliRunner().invoke(app, ["reproduce", *arguments])
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)


def test_the_results_of_a_suite_are_not_overwritten(tmp_path: Path) -> None:
    Store(tmp_path).write_plan(Plan("quickstart", "smoke", "", {"epochs": 4}, ()))
    with pytest.raises(UserError, match="results of the suite 'quickstart'"):
        Store(tmp_path).require_suite("reproduce-odn-short")


def test_help_has_an_example() -> None:
    import typer.testing

    from benchmarks.cli import app

    done = typer.testing.CliRunner().invoke(app, ["reproduce", "--help"])
    assert "Example: depthbench reproduce odn --table I" in done.output
