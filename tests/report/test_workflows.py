"""What CI is told to do: pinned actions, few permissions, commands that exist."""

from __future__ import annotations

import configparser
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from benchmarks.cli import app

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SCRIPTS = [ROOT / ".ci" / "publish", ROOT / ".ci" / "pull-request", ROOT / ".ci" / "run"]

PERMISSIONS = {
    ("tests", "lint-and-docs"): {"contents": "read"},
    ("tests", "tests"): {"contents": "read"},
    ("benchmark", "run"): {"contents": "read"},
    ("benchmark", "page"): {"pages": "write", "id-token": "write"},
    ("benchmark", "pull-request"): {"contents": "write", "pull-requests": "write"},
}
"""All that a job may do."""


def read(path: Path) -> dict[str, Any]:
    # YAML 1.1 takes the key "on" for true.
    return yaml.safe_load(re.sub(r"^on:", '"on":', path.read_text(), flags=re.MULTILINE))


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in read(path)["jobs"].items():
            for step in job["steps"]:
                yield f"{path.stem}, {name}", step


def test_every_action_is_pinned_by_a_digest_and_says_its_version() -> None:
    digests: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for line in path.read_text(encoding="utf-8").splitlines():
            if "uses:" in line:
                pinned = re.fullmatch(
                    r"\s*(?:- )?uses: ([\w.-]+/[\w./-]+)@([0-9a-f]{40}) # v\d+\.\d+\.\d+", line
                )
                assert pinned, f"{path.name}: {line.strip()}"
                digests.setdefault(pinned[1], set()).add(pinned[2])
    assert len(digests) >= 4
    assert {name: len(found) for name, found in digests.items() if len(found) > 1} == {}


def test_jobs_may_do_what_they_need_and_nothing_else() -> None:
    found = {}
    for path in WORKFLOWS:
        workflow = read(path)
        assert workflow["permissions"] == {}
        for name, job in workflow["jobs"].items():
            found[path.stem, name] = job["permissions"]
            assert 0 < job["timeout-minutes"] <= 360
            for step in job["steps"]:
                if step.get("uses", "").startswith("actions/checkout@"):
                    kept = step.get("with", {}).get("persist-credentials", True)
                    assert kept == (job["permissions"].get("contents") == "write")
    assert found == PERMISSIONS


def test_the_tests_run_on_every_supported_python_and_the_benchmark_on_request() -> None:
    tests, benchmark = (
        read(ROOT / ".github" / "workflows" / f"{n}.yml") for n in ("tests", "benchmark")
    )
    told = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert tests["jobs"]["tests"]["strategy"]["matrix"]["python"] == told
    assert set(benchmark["on"]) == {"schedule", "workflow_dispatch"}
    assert set(benchmark["on"]["workflow_dispatch"]["inputs"]) == {"suite", "seeds"}


def test_no_script_of_a_workflow_is_put_together_from_expressions() -> None:
    scripts = [(where, step["run"]) for where, step in steps() if "run" in step]
    assert scripts
    for where, script in scripts:
        assert "${{" not in script, where


def test_scripts_and_environments_that_workflows_name_are_there() -> None:
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    named = set()
    for where, step in steps():
        words = shlex.split(step.get("run", ""))
        if words and words[0].startswith(".ci/"):
            assert os.access(ROOT / words[0], os.X_OK), where
            named.add(words[0])
        if words[:3] == ["tox", "run", "-e"]:
            assert all(tox.has_section(f"testenv:{name}") for name in words[3].split(",")), where
    assert named == {".ci/publish", ".ci/pull-request"}
    assert tox["tox"]["env_list"].split(", ") == ["lint", "docs", "tests"]


def test_the_environment_of_the_documentation_is_the_extra() -> None:
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    extra = re.search(r"^docs = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert extra
    names = re.findall(r'"([\w-]+)', extra[1])
    assert tox["testenv:docs"]["deps"].split() == names
    pins = (ROOT / "constraints" / "common.txt").read_text()
    assert [name for name in names if f"\n{name}==" not in pins] == []


def calls(text: str) -> Iterator[list[str]]:
    """The words of every call of depthbench in a shell script, variables replaced by "1"."""
    text = re.sub(r"\\\n\s*", " ", text)
    text = re.sub(r"\$\{\w+:\+([^}]*)\}", r"\1", text)
    for line in text.splitlines():
        code = re.sub(r"\$\(([^()]*)\)", r" \1", line)
        for part in re.split(r"&&|\|\|?|;|[<>]", re.sub(r"(^|\s)#.*", "", code)):
            found = re.search(r"(?:^|[\s/])depthbench ([a-z][\w-]*.*)", part)
            if found and "'depthbench" not in part:
                yield shlex.split(re.sub(r"\$\w+|\$\{\w+\}", "1", found[1]))


def blocks(path: Path) -> str:
    """The shell blocks of a page, which have no language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)
    return "\n".join(text for language, text in fenced if not language)


def parse(words: list[str]) -> None:
    """Read a call as the command would, without carrying it out; raises what the command says."""
    group = typer.main.get_command(app)
    context = typer.Context(group)
    group.get_command(context, words[0]).make_context(words[0], list(words[1:]))


@pytest.mark.parametrize("path", [*WORKFLOWS, *SCRIPTS, *PAGES], ids=lambda path: path.name)
def test_every_call_of_depthbench_has_options_that_exist(path: Path) -> None:
    if path in WORKFLOWS:
        told = "\n".join(step.get("run", "") for _, step in steps())
    else:
        told = blocks(path) if path.suffix == ".md" else path.read_text(encoding="utf-8")
    for words in calls(told):
        try:
            parse(words)
        except Exception as error:
            pytest.fail(f"depthbench {' '.join(words)}: {error}", pytrace=False)


def test_calls_are_found_where_they_stand_and_wrong_ones_do_not_pass() -> None:
    script = (
        'x=$(depthbench report "$out/a" --metric top1) # depthbench no\n'
        'DATA=1 depthbench run \\\n  ${seeds:+--seeds "$seeds"} -- "$suite" > log\n'
        'allow 1 depthbench compare "$folder" --agains "$reference" || exit\n'
    )
    found = list(calls(script))
    assert found == [
        ["report", "1/a", "--metric", "top1"],
        ["run", "--seeds", "1", "--", "1"],
        ["compare", "1", "--agains", "1"],
    ]
    for words in found[:2]:
        parse(words)
    with pytest.raises(Exception, match="agains"):
        parse(found[2])
    assert len(list(calls((ROOT / ".ci" / "publish").read_text()))) == 6
    assert sum(len(list(calls(blocks(page)))) for page in PAGES) > 30
