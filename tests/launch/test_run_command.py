"""``depthbench run`` from the outside: output, exit codes, Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "launch.fake_command"]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    "COLUMNS": "120",
    "TERM": "xterm",
}


@pytest.fixture
def workplace(tmp_path):
    """A folder with a suite file, and the command run in it."""

    def command(methods, *options, seeds=(0,)):
        entries = [
            {"name": "end_to_end", "label": label, **chosen} for label, chosen in methods.items()
        ]
        suite = {
            "name": "fake",
            "task": {"name": "classification"},
            "methods": entries,
            "budget": {"epochs": 1},
            "seeds": list(seeds),
        }
        (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
        return subprocess.run(
            [*COMMAND, "suite.yaml", *options],
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    command.folder = tmp_path
    return command


def read_to_end(terminal):
    """What is written until the other side closes; Linux reports the end as an error."""
    text = b""
    with open(terminal, "rb", buffering=0) as stream, contextlib.suppress(OSError):
        while data := stream.read(4096):
            text += data
    return text


def plain(text):
    """What a terminal wrote, without colours and cursor movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.decode(errors="replace"))


def test_a_suite_ends_with_its_table_and_exit_code_0(workplace):
    done = workplace({"a": {}, "b": {"gives": {"super": 72.5, "base": 71.0}}})
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(re.match(r"\[1/2\] a seed 0: top-1 70\.00 \(.* s\)", line) for line in lines)
    assert any("b seed 0: top-1 super 72.50, base 71.00" in line for line in lines)
    assert any(re.match(r"\| a +\| full +\| 1 +\| 70", line) for line in lines)
    assert "2 of 2 runs are finished; results: results/fake" in lines
    assert (workplace.folder / "results" / "fake" / "rows.csv").is_file()
    again = workplace({"a": {}, "b": {"gives": {"super": 72.5, "base": 71.0}}})
    assert "2 of 2 runs are finished already" in again.stdout
    assert "[1/2]" not in again.stdout


def test_a_failed_run_gives_exit_code_1_and_names_its_log(workplace):
    done = workplace({"bad": {"act": "raise"}, "good": {}}, "--results", "there")
    assert done.returncode == 1
    found = re.search(r"failed: bad seed 0: ValueError: loss is NaN \(log: (.*)\)", done.stdout)
    assert "Traceback" in (workplace.folder / found[1]).read_text()
    assert "1 of 2 runs are finished; results: there" in done.stdout


def test_json_is_the_only_thing_on_stdout(workplace):
    done = workplace({"bad": {"act": "die"}, "good": {}}, "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["finished"] == 1
    assert document["failed"][0]["reason"] == "killed by SIGKILL (out of memory?)"
    assert [(row["method"], row["value"]) for row in document["rows"]] == [
        ("bad", None),
        ("good", 70.0),
    ]
    names = [(workplace.folder / table).name for table in document["tables"]]
    assert names == ["table.csv", "table.md", "table.tex"]
    assert "good seed 0" in done.stderr


def test_a_dry_run_tells_the_plan_and_writes_nothing(workplace):
    done = workplace({"a": {}, "b": {}}, "--plan", seeds=(0, 1))
    assert done.returncode == 0, done.stderr
    assert "4 of 4 runs to do, about 8.0 s of training" in done.stdout
    assert [path.name for path in workplace.folder.iterdir()] == ["suite.yaml"]
    workplace({"a": {}})
    done = workplace({"a": {}, "b": {}}, "--plan", "--json")
    states = [(run["run_id"], run["state"]) for run in json.loads(done.stdout)["runs"]]
    assert states == [("a-0", "finished"), ("b-0", "absent")]


def test_a_budget_of_the_command_line_is_in_place_of_the_suites(workplace):
    done = workplace({"a": {}}, "--budget", "seconds=90,steps=7")
    assert done.returncode == 0, done.stderr
    assert "(7 steps or 90 seconds, whichever is spent first)" in done.stdout
    done = workplace({"a": {}}, "--budget", "seconds=90", "--plan")
    assert re.search(r"a-0 +a +0 +about 12 +2\.0 s", done.stdout), done.stdout
    done = workplace({"a": {}}, "--budget", "second=90")
    assert done.returncode == 2
    assert "did you mean 'seconds'" in done.stderr


def test_seeds_of_the_command_line_are_in_place_of_the_suites(workplace):
    done = workplace({"a": {}}, "--seeds", "3", "--plan", "--json", seeds=(7,))
    assert done.returncode == 0, done.stderr
    assert [run["run_id"] for run in json.loads(done.stdout)["runs"]] == ["a-0", "a-1", "a-2"]


def test_a_plan_that_cannot_work_is_refused_before_anything_is_trained(workplace):
    done = workplace({"a": {}, "b": {"act": "refuse"}})
    assert done.returncode == 2
    assert done.stderr.strip() == "error: suite.yaml: no such data set"
    assert not (workplace.folder / "results" / "fake" / "runs").exists()


def test_a_method_file_is_imported_in_the_child_alone(workplace):
    file = workplace.folder / "mine.py"
    file.write_text("import os, pathlib\npathlib.Path('pid').write_text(str(os.getppid()))\n")
    done = workplace({"a": {}}, "--method-file", "mine.py")
    assert done.returncode == 0, done.stderr
    assert int((workplace.folder / "pid").read_text()) not in (os.getpid(), os.getppid())


def test_ctrl_c_on_a_terminal_stops_in_one_line_and_the_same_command_goes_on(workplace):
    go = workplace.folder / "go"
    methods = {"a": {}, "slow": {"act": "wait", "until": str(go)}, "c": {}}
    workplace(methods, "--plan")  # writes the suite file
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(workplace.folder)
        os.execve(sys.executable, [*COMMAND, "suite.yaml"], ENVIRONMENT)
    screen = ""
    deadline = time.monotonic() + 30
    while not re.search(r"slow seed 0: starting.*s waiting", screen):
        assert time.monotonic() < deadline, screen
        screen += plain(os.read(terminal, 4096))
    os.write(terminal, b"\x03")  # as typed: the whole foreground group gets SIGINT
    screen += plain(read_to_end(terminal))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert "1 done, 1 running, 1 waiting of 3" in screen
    assert "stopped: 1 of 3 runs are finished; the same command resumes" in screen
    assert "Traceback" not in screen
    go.touch()
    done = workplace(methods)
    assert done.returncode == 0, done.stderr
    assert "1 of 3 runs are finished already" in done.stdout
    assert "[3/3] c seed 0" in done.stdout
