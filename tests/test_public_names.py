"""``import depthbench``: every public name is there, and none is imported before it is used."""

from __future__ import annotations

import subprocess
import sys

import benchmarks
import depthbench


def test_every_public_name_is_found_in_both() -> None:
    assert "load_suite" in depthbench.__all__
    for name in depthbench.__all__:
        assert getattr(depthbench, name) is getattr(benchmarks, name)


def test_public_names_are_imported_when_used() -> None:
    code = (
        "import sys, depthbench; assert 'torch' not in sys.modules; "
        "from depthbench import Row, load_suite; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(depthbench, "nothing_of_that_name")
