"""Output that cannot be written: any encoding, a full or closed stdout, a folder that is gone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.launch.streams import PLAIN_SIGNS

ROOT = Path(__file__).parents[2]
HEADER = (
    "suite,run_id,task,dataset,arch,method,variant,seed,phase,metric,value,unit,status,reason\n"
)
ROWS = HEADER + "".join(
    f"mine,r{seed},classification,digits,größe,{method},full,{seed},test,top1,9{seed}.5,%,ok,\n"
    for seed in (0, 1)
    for method in ("plain", "ours")
)
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}


def shell(line: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A shell line in which ``$D`` is the command."""
    return subprocess.run(
        ["bash", "-c", line],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "D": f"{sys.executable} -m benchmarks", **env},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text(ROWS, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "env", [ASCII, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1:strict"}]
)
def test_what_an_encoding_has_no_sign_for_is_written_with_other_signs(
    results: Path, env: dict[str, str]
) -> None:
    done = shell(
        "$D report . && $D compare . --baseline plain && $D report nowhere→", results, **env
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert re.search(r"91\.00 (\+-|\N{REPLACEMENT CHARACTER}) 0\.71", done.stdout)
    assert "top-1 ^ (%)" in done.stdout
    assert "±" in (results / "table.md").read_text(encoding="utf-8")


def test_signs_that_tables_use_have_plain_ones() -> None:
    assert all(plain.isascii() for plain in PLAIN_SIGNS.values())
    assert set("±×–↑↓…→") <= set(PLAIN_SIGNS)


def test_a_name_in_no_encoding_is_printed_with_its_bytes(results: Path) -> None:
    done = shell("mkdir $'caf\\xe9' && cp rows.csv caf*/ && $D report caf*/ --metric x", results)
    assert done.returncode == 2
    done = shell("$D report $'nowhere\\xe9'", results)
    assert done.returncode == 2
    assert "nowhere\\xe9" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("to", "code", "says"),
    [
        (">/dev/full", 2, "the command is done, but its output cannot be written to stdout: No sp"),
        (">&-", 0, ""),
        (">&- 2>&-", 0, ""),
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        ("| true", 0, ""),
        ("| head -1", 0, ""),
    ],
)
def test_a_stdout_that_takes_nothing_neither_crashes_nor_spoils_a_file(
    results: Path, to: str, code: int, says: str
) -> None:
    done = shell(f"$D report . {to}; exit ${{PIPESTATUS[0]}}", results)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert done.stderr.startswith(f"error: {says}" if says else "")
    assert done.stderr.count("\n") == bool(says)
    whole = shell("$D report .", results).stdout
    assert (results / "table.md").read_text(encoding="utf-8") == whole
    assert (results / "rows.csv").read_text(encoding="utf-8") == ROWS


@pytest.mark.parametrize("verb", ["report {}", "run quickstart"])
def test_a_working_folder_that_is_gone_is_told(results: Path, verb: str) -> None:
    line = f"mkdir gone && cd gone && rmdir ../gone && exec $D {verb.format(results)}"
    done = shell(line, results)
    assert done.returncode == 2
    assert done.stderr.endswith("error: the working folder is gone: go to a folder that exists, and"
                                " start the command there\n")  # fmt: skip
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("columns", ["1", "-3", "9" * 400])
def test_help_stays_readable_in_any_width(results: Path, columns: str) -> None:
    done = shell("$D report --help", results, COLUMNS=columns)
    assert done.returncode == 0
    assert "--format" in done.stdout
    assert "folder" in done.stdout


def test_a_crash_is_one_sentence_and_a_file_with_the_traceback(tmp_path: Path) -> None:
    code = (
        "import benchmarks.cli.list as verb\n"
        "def crash(*a): raise KeyError('lost')\n"
        "verb.suite_names = crash\n"
        "from benchmarks.cli import main\n"
        "import sys\nsys.argv[1:] = ['list']\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    (kept,) = tmp_path.glob("depthbench-*-traceback.txt")
    assert done.stderr.count("\n") == 1
    assert "KeyError: 'lost' at " in done.stderr
    assert str(kept) in done.stderr
    assert "in crash" in kept.read_text()


def test_a_system_error_is_told_with_its_file(tmp_path: Path) -> None:
    done = shell(f"$D run {'x' * 300}/s.yaml", tmp_path)
    assert done.returncode == 2
    assert "File name too long" in done.stderr
    assert "Traceback" not in done.stderr
