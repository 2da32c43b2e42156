"""What is published of results, and the page about all of it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import warm
from report.made_results import Made, make, make_old

from benchmarks.analysis.load import read_folder
from benchmarks.records.plan import vouch_for
from benchmarks.records.store import Plan
from benchmarks.records.verification import seal
from benchmarks.report.published.copying import copy_results, folders_named
from benchmarks.report.published.readme import write_readme
from tasks.errors import UserError

ROOT = Path(__file__).parents[2]


def page(folder: Path) -> str:
    write_readme(folder)
    return (folder / "README.md").read_text(encoding="utf-8")


def files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def rounded(table: bytes) -> list[list[str]]:
    """A CSV with numbers to nine digits: the last one of a deviation is the platform's."""

    def read(cell: str) -> str:
        try:
            return f"{float(cell):.9g}"
        except ValueError:
            return cell

    return [[read(cell) for cell in line] for line in csv.reader(io.StringIO(table.decode()))]


def test_the_published_page_and_tables_are_those_of_their_rows(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    kept = shutil.ignore_patterns("*.damaged*", ".lock", "report", "log.txt", "checkpoints")
    folder.mkdir()
    shutil.copytree(ROOT / "results" / "published", folder / "published", ignore=kept)
    for path in [*(ROOT / "results").glob("*.md"), ROOT / "results" / "main.csv"]:
        shutil.copyfile(path, folder / path.name)
    before = files(folder)
    write_readme(folder)
    after = files(folder)
    hint = "run: depthbench publish"
    assert after.keys() == before.keys(), hint
    for name, content in before.items():
        if name.endswith("table.csv"):
            assert rounded(after[name]) == rounded(content), f"{name}; {hint}"
        else:
            assert after[name] == content, f"{name}; {hint}"


def test_nothing_published_names_a_folder_of_a_machine() -> None:
    for path in sorted((ROOT / "results").glob("published/*/rows.csv")):
        assert list(folders_named(read_folder(path.parent))) == []


def test_links_of_the_published_page_lead_somewhere() -> None:
    text = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert len(links) > 50
    assert [link for link in links if not (ROOT / "results" / link).is_file()] == []
    anchors = re.findall(r"\]\(#([^)]+)\)", text)
    assert anchors == re.findall(r"^## (.*)$", text, re.MULTILINE)


def test_rows_manifests_and_curves_are_copied_and_nothing_else(tmp_path: Path) -> None:
    source = make(tmp_path / "source", Made(seeds=(0,)))
    for name in ("log.txt", "checkpoints/epoch_1.pth"):
        for run in source.path.glob("runs/*"):
            (run / name).parent.mkdir(exist_ok=True)
            (run / name).write_text("large")
    (source.path / "runs" / "old.damaged-1").mkdir()
    shutil.copytree(source.run_dir("digits-resnet20-ours-s0"), source.run_dir("no-longer-planned"))
    target = copy_results(source.path, tmp_path / "published")
    assert target == tmp_path / "published" / "mine"
    runs = ("digits-resnet20-plain-s0", "digits-resnet20-ours-s0")
    assert set(files(target)) == {"plan.json", "rows.csv"} | {
        f"runs/{run}/{name}"
        for run in runs
        for name in ("manifest.json", "rows.csv", "curve.csv", "digest.json")
    }
    assert all(files(source.path)[name] == content for name, content in files(target).items())


def test_what_is_published_again_takes_the_place_of_the_earlier_whole(tmp_path: Path) -> None:
    published = tmp_path / "published"
    copy_results(make(tmp_path / "a", Made(seeds=(0, 1))).path, published)
    (published / "mine" / "NOTES.md").write_text("Of the earlier runs.")
    target = copy_results(make(tmp_path / "b", Made(seeds=(2,))).path, published)
    assert {run.seed for run in read_folder(target).runs} == {2}
    assert not (target / "NOTES.md").exists()
    assert [path.name for path in published.iterdir()] == ["mine"]


def test_a_name_keeps_two_devices_apart_and_never_mixes_suites(tmp_path: Path) -> None:
    published = tmp_path / "published"
    copy_results(make(tmp_path / "cpu").path, published)
    copy_results(make(tmp_path / "gpu", Made(device="H200", gpu=True)).path, published, "mine-h200")
    other = make(tmp_path / "other", Made(suite="other")).path
    with pytest.raises(UserError, match="holds the suite 'mine', not 'other': give another --name"):
        copy_results(other, published, "mine")
    for name in ("../mine", "a/b", ".hidden"):
        with pytest.raises(UserError, match="cannot be a folder's name"):
            copy_results(other, published, name)
    assert sorted(path.name for path in published.iterdir()) == ["mine", "mine-h200"]


def test_what_is_not_finished_is_refused_and_what_failed_is_told(tmp_path: Path) -> None:
    store = make(tmp_path / "source", Made(fail=frozenset({("ours", 1)})))
    copy_results(store.path, tmp_path / "published")
    text = page(tmp_path)
    assert "- Runs: 6, seeds 0, 1, 2; 1 failed." in text
    assert "- failed: ours, seed 1: out of memory" in text
    plan = store.plan()
    assert plan is not None
    more = Plan(**{**vars(plan), "runs": (*plan.runs, type(plan.runs[0])("to-do", "ours", 3))})
    store.write_plan(more)
    with pytest.raises(UserError, match=r"runs that are not finished \(1\)"):
        copy_results(store.path, tmp_path / "published")


def test_the_page_tells_where_when_with_what_and_at_which_budget(tmp_path: Path) -> None:
    store = make(tmp_path / "published" / "mine", Made(seeds=(0, 1)))
    for number, path in enumerate(sorted(store.path.glob("runs/*/manifest.json"))):
        manifest = json.loads(path.read_text())
        manifest |= {
            "created": f"2026-11-{20 + number}T22:0{number}:00+00:00",
            "finished": f"2026-11-{20 + number}T23:1{number}:00+00:00",
            "device": {"name": "H200", "type": "cuda", "nvml": {"driver": "570.1"}},
            "fingerprint": {"versions": {"python": "3.12.1", "torch": "2.14.1", "numpy": "2"}},
        }
        manifest["environment"]["git"] = {
            "commit": "0123456789abcdef",
            "dirty": "plain-s0" in path.parent.name,
        }
        path.write_text(json.dumps(manifest))
        seal(path.parent)
    (store.path / "NOTES.md").write_text("Other work ran on the machine.\n")
    (tmp_path / "overhead.md").write_text("# What it costs\n")
    text = page(tmp_path)
    assert "| [mine](#mine) | Made | smoke: 4 epochs | 4 | H200 | 2026-11-23 |" in text
    for line in (
        "- Budget: smoke: 4 epochs, a reduced budget.",
        "- Where: H200 (driver 570.1).",
        "- When: 2026-11-20, 22:00 to 2026-11-23, 23:13 UTC.",
        "- With: depthbench 0.1.0, python 3.12.1, torch 2.14.1.",
        "- Commit: 0123456789ab with uncommitted changes, 0123456789ab.",
        "Other work ran on the machine.",
        "None of these is run at a paper's budget",
        "[What it costs](overhead.md).",
    ):
        assert f"\n{line}" in text
    assert "main.csv" not in text
    assert (store.path / "table.md").read_text(encoding="utf-8") in text
    make(store.path, Made(seeds=(0, 1), profile="paper"))
    (tmp_path / "main.csv").touch()
    text = page(tmp_path)
    assert "- Budget: paper: 4 epochs.\n" in text
    assert "None of these" not in text
    assert "`main.csv` is what `depthbench compare --against` tests" in text


def test_a_reproduction_is_shown_by_its_comparison(tmp_path: Path) -> None:
    store = make(tmp_path / "reproduce-odn-short", Made(seeds=(0,), suite="reproduce-odn-short"))
    plan = store.plan()
    assert plan is not None
    store.write_plan(replace(plan, budget={}, title=""))  # each run has a budget of its own
    (store.path / "reproduction.md").write_text("odn; profile short.\n\n| table | verdict |\n")
    with pytest.raises(UserError, match=r"reproduction\.md is not what was written of these runs"):
        copy_results(store.path, tmp_path / "published")
    vouch_for(store.path, [store.path / "reproduction.md"])
    copy_results(store.path, tmp_path / "published")
    text = page(tmp_path)
    assert "- Note: " not in text
    assert "## reproduce-odn-short\nodn; profile short.\n\n| table | verdict |\n" in text
    published = tmp_path / "published" / "reproduce-odn-short"
    assert not (published / "table.md").exists()
    make_old(published)
    assert "- Note: unverified: recorded before runs had digests.\n" in page(tmp_path)


def test_no_results_yet_make_a_page_without_sections(tmp_path: Path) -> None:
    assert page(tmp_path).startswith("# Results\n")
    assert "## " not in page(tmp_path)


def test_damaged_rows_are_not_published(tmp_path: Path) -> None:
    store = make(tmp_path / "published" / "mine")
    store.rows_path.write_bytes(store.rows_path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"rows\.csv"):
        write_readme(tmp_path)


def command(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return warm.run("publish", *arguments, cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_the_command_publishes_and_warns_of_folders(tmp_path: Path) -> None:
    store = make(tmp_path / "source", Made(seeds=(0,)))
    path = store.run_dir("digits-resnet20-ours-s0") / "manifest.json"
    manifest = json.loads(path.read_text())
    spec = {"task_options": {"data_root": "/home/me/data"}, "recipe": {"a": [{"b": "c"}]}}
    path.write_text(json.dumps({**manifest, "spec": spec}))
    seal(path.parent)
    done = command("source", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["results/published/mine", "results/README.md"]
    assert done.stderr == (
        "note: the manifest of digits-resnet20-ours-s0 names /home/me/data, a path of this "
        "machine\n"
    )
    told = json.loads(command("--to", "results", "--json", cwd=tmp_path).stdout)
    assert told == {
        "published": [],
        "page": "results/README.md",
        "sections": ["mine"],
        "notes": [],
    }
    refused = command("source", "source", "--name", "x", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: --name is for one folder of results: publish the others by themselves\n"
    )
