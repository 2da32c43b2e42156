from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import warm

from benchmarks.papers.claims import COLUMNS, read_claims

ROOT = Path(__file__).parents[2]


def verify(*arguments: str) -> subprocess.CompletedProcess[str]:
    return warm.run("verify", *arguments, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_json_lists_every_claim_of_the_papers_asked_for() -> None:
    done = verify("--paper", "swn", "--paper", "repl", "--json", "--strict")
    assert done.returncode == 1, done.stderr  # 146.0 M is contradicted
    found = json.loads(done.stdout)
    claims = read_claims(["swn", "repl"])
    added = ("computed", "difference", "counting", "plain", "verdict", "reason")
    assert all(tuple(each) == (*COLUMNS, *added) for each in found)
    assert [{k: each[k] for k in COLUMNS} for each in found] == [c.as_dict() for c in claims]
    (ensemble,) = [each for each in found if each["variant"] == "SWN-HO 36.5M" and each["computed"]]
    assert ensemble["value"] == 36.5
    assert ensemble["difference"] == pytest.approx(36.480432 - 36.5)


def test_the_table_shows_what_was_computed_and_counts_the_rest() -> None:
    done = verify("--paper", "swn")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    (row,) = [line for line in lines if "SWN-HE 36.5M" in line]
    for cell in ("36.5 M", "36.50", "templates", "36.82", "reproduced"):
        assert cell in row
    assert any(line.startswith("contradicted: swn table 2") and "146.0" in line for line in lines)
    assert any("needs training on CIFAR-100-C" in line for line in lines)
    assert lines[-1].startswith("114 claims: ")
    counts = [int(part.split()[0]) for part in lines[-1].split(": ")[1].split(", ")]
    assert sum(counts) == 114


def test_strict_is_satisfied_where_nothing_is_contradicted() -> None:
    assert verify("--paper", "repl", "--strict").returncode == 0


def test_an_unknown_paper_is_one_sentence() -> None:
    done = verify("--paper", "odm")
    assert done.returncode == 2
    assert done.stderr == (
        "error: unknown paper 'odm' (did you mean 'odn'?); known: adn, mind, odn, repl, swn\n"
    )


def test_claims_about_no_detector_import_no_detectors() -> None:
    script = (
        "import sys\n"
        "from benchmarks.papers.claims import read_claims\n"
        "from benchmarks.papers.verdicts import check\n"
        "claims = [c for c in read_claims(['adn']) if c.arch == 'resnet50']\n"
        "assert any(check(c).computed for c in claims if c.metric == 'params')\n"
        "assert not {'mmdet', 'mmcv'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
