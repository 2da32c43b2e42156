"""A run's way from its specification to rows enters few files of the harness."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "run_path.py"
MOST = 14


@pytest.mark.skipif(not TOOL.is_file(), reason="the tools are in the repository alone")
def test_a_specification_enters_few_files() -> None:
    done = subprocess.run([sys.executable, TOOL], capture_output=True, text=True, check=True)
    *files, total = done.stdout.splitlines()
    assert total.startswith(f"{len(files)} files, ")
    assert len(files) <= MOST, done.stdout
