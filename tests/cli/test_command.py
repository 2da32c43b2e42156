from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import warm

from benchmarks.cli import VERBS

ROOT = Path(__file__).parents[2]
HEADER = (
    "suite,run_id,task,dataset,arch,method,variant,seed,phase,metric,value,unit,status,reason\n"
)


def depthbench(
    *arguments: str | Path, cwd: Path = ROOT, path: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would, from this checkout; in a new process if ``path`` is given.

    Args:
        arguments: of the command.
        cwd: its folder.
        path: a folder in front of this checkout on PYTHONPATH.
    """
    search = os.pathsep.join(filter(None, [path, str(ROOT)]))
    env = {**os.environ, "PYTHONPATH": search, "COLUMNS": "200"}
    if not path:
        return warm.run(*arguments, cwd=cwd, env=env)
    return subprocess.run(
        [sys.executable, "-c", "from benchmarks.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=env,
        check=False,
    )


def one_error(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_list_names_everything_a_suite_can_name() -> None:
    done = depthbench("list")
    assert done.returncode == 0, done.stderr
    for name in ("end_to_end", "replacement", "classification", "digits", "quickstart"):
        assert f"\n  {name}" in done.stdout


def test_list_json_agrees_with_the_text() -> None:
    known = json.loads(depthbench("list", "--json").stdout)
    assert set(known) == {
        "methods",
        "tasks",
        "datasets",
        "models",
        "detectors",
        "segmentors",
        "suites",
    }
    text = depthbench("list").stdout
    for entries in known.values():
        assert entries
        for entry in entries:
            assert entry["summary"]
            assert f"  {entry['name']} " in text


def test_list_needs_neither_torch_nor_much_more_than_its_imports() -> None:
    """About 3.5 times what typer and rich take to import, which is half a second at most here.

    The same work takes two to four times as long on other processors and beside other processes.
    """
    code = (
        "import sys, time\nstart = time.process_time()\n"
        "import rich.console, rich.table, typer.main\n"
        "imports = time.process_time() - start\n"
        "from benchmarks.cli import app\n"
        "app(['list'], standalone_mode=False)\n"
        "heavy = [m for m in ('torch', 'pandas', 'numpy', 'mmengine') if m in sys.modules]\n"
        "print(heavy, (time.process_time() - start) / imports, file=sys.stderr)"
    )
    ratios = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
        )
        heavy, ratio = done.stderr.split("] ")
        assert heavy == "["
        ratios.append(float(ratio))
    assert min(ratios) < 6


def test_list_shows_the_methods_of_a_file(tmp_path: Path) -> None:
    code = tmp_path / "own.py"
    code.write_text(
        "from methods.base import METHODS\n@METHODS.register('homemade')\n"
        "class Homemade:\n    '''Made at home.'''\n"
    )
    assert "homemade" not in depthbench("list").stdout
    lines = depthbench("list", "--method-file", code).stdout.splitlines()
    assert any(line.split() == ["homemade", "Made", "at", "home"] for line in lines)
    assert "no method file" in one_error(depthbench("list", "--method-file", tmp_path / "none.py"))


@pytest.mark.parametrize("verb", ["list", "run", "show", "report"])
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    done = depthbench(verb, "--help")
    assert done.returncode == 0
    assert f"Example: depthbench {verb}" in done.stdout
    assert f"\n│ {verb} " in depthbench("--help").stdout


def test_the_version_is_the_packages() -> None:
    from benchmarks import __version__

    assert depthbench("--version").stdout == f"depthbench {__version__}\n"


def test_a_mistyped_verb_gets_the_nearest_one() -> None:
    assert "did you mean 'report'" in one_error(depthbench("reprot", "x"))


def test_an_unknown_option_is_refused() -> None:
    assert depthbench("list", "--jsno").returncode == 2


def test_python_m_benchmarks_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--version"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.startswith("depthbench ")


ROWS = HEADER + (
    "mine,r0,classification,digits,small,plain,full,0,test,top1,90.5,%,ok,\n"
    "mine,r0,classification,digits,small,plain,,0,train,train_time,2.0,s,ok,\n"
    "mine,r0,classification,digits,small,plain,full,0,test,ece,4.0,%,ok,\n"
)


def test_table_prints_and_writes_all_formats(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    for form, suffix in (("md", "md"), ("csv", "csv"), ("latex", "tex")):
        done = depthbench("report", tmp_path, "--format", form)
        assert done.returncode == 0, done.stderr
        assert done.stdout == (tmp_path / f"table.{suffix}").read_text()
        assert "90.5" in done.stdout
    chosen = depthbench("report", tmp_path, "--metric", "ece", "--metric", "train_time").stdout
    assert "ECE" in chosen
    assert "top-1" not in chosen


def test_table_tells_mistakes_in_one_line(tmp_path: Path) -> None:
    assert "no" in one_error(depthbench("report", tmp_path))
    (tmp_path / "rows.csv").write_text(ROWS[:-9])
    assert "rows.csv:4: the last line is cut short" in one_error(depthbench("report", tmp_path))
    (tmp_path / "rows.csv").write_text(ROWS)
    wrong = depthbench("report", tmp_path, "--metric", "topp1")
    assert "did you mean 'top1'" in one_error(wrong)


@pytest.mark.parametrize("name", ["methods", "tasks"])
@pytest.mark.parametrize("kind", ["package", "module", "folder"])
def test_a_package_that_hides_ours_is_named(tmp_path: Path, name: str, kind: str) -> None:
    if kind == "module":
        hiding = tmp_path / f"{name}.py"
        hiding.write_text("raise RuntimeError('imported')\n")
    else:
        hiding = tmp_path / name
        hiding.mkdir()
        if kind == "package":
            (hiding / "__init__.py").write_text("raise RuntimeError('imported')\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = depthbench("list", cwd=elsewhere, path=str(tmp_path))
    if kind == "folder":  # without __init__.py it hides nothing: a real package goes first
        assert done.returncode == 0, done.stderr
        return
    message = one_error(done)
    assert str(hiding) in message
    assert "PYTHONPATH" in message


def test_the_command_works_in_a_folder_with_other_tasks(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "methods.txt").write_text("")
    assert depthbench("list", cwd=tmp_path).returncode == 0


def test_a_closed_pipe_leaves_no_traceback() -> None:
    done = subprocess.run(
        f"{sys.executable} -m benchmarks list --json | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.stdout == "{"
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    code = tmp_path / "slow.py"
    code.write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "list", "--method-file", str(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("table", "report"),
        ("gate", "compare --against"),
        ("explain", "show"),
        ("check-method", "check"),
    ],
)
def test_an_old_name_runs_with_one_line_on_stderr(old: str, new: str) -> None:
    done = depthbench(old, "--help")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"note: 'depthbench {old}' is now 'depthbench {new}'")
    assert f"│ {old} " not in depthbench("--help").stdout


def test_old_and_new_name_print_the_same() -> None:
    folder = ROOT / "results/published/quickstart"
    old, new = (depthbench(verb, folder, "--format", "csv") for verb in ("table", "report"))
    assert old.stdout == new.stdout != ""
    assert new.stderr == ""


def test_every_verb_has_an_example_and_one_line_in_the_help() -> None:
    lines = depthbench("--help").stdout.splitlines()
    for verb in VERBS:
        assert sum(line.startswith(f"│ {verb} ") for line in lines) == 1, verb
        assert f"Example: depthbench {verb}" in depthbench(verb, "--help").stdout, verb


def test_a_run_is_named_by_method_and_seed() -> None:
    folder = ROOT / "results/published/quickstart"
    done = depthbench("show", folder, "--method", "replacement", "--seed", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert '"seed": 1' in done.stdout
    part = next((folder / "runs").glob("*end_to_end*s2*")).name[-12:]
    assert depthbench("show", folder / part).returncode == 0
    wrong = one_error(depthbench("show", folder, "--method", "end_to_end"))
    assert "may be any of" in wrong
    assert "(end_to_end)" in wrong
    assert "--seed 7" in one_error(depthbench("show", folder, "--seed", "7"))
    mistyped = one_error(depthbench("show", folder, "--method", "replacment"))
    assert "did you mean 'replacement'" in mistyped


def test_options_of_one_question_alone_are_refused_for_the_other(tmp_path: Path) -> None:
    folder = ROOT / "results/published/quickstart"
    assert "--against FILE" in one_error(depthbench("compare", folder, "--write"))
    told = one_error(depthbench("compare", folder, "--against", folder, "--baseline", "mind"))
    assert "--baseline" in told
    assert "one of md, csv" in one_error(depthbench("report", folder, "--format", "md,csv"))


def test_a_device_of_the_command_line_is_named_as_such() -> None:
    wrong = one_error(depthbench("run", "quickstart", "--device", "gpu", "--plan"))
    assert wrong == "error: --device must be auto, cpu, cuda or cuda:N, got 'gpu'"
