"""The version of what an import would find, whatever distribution provides it."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.records.identity.versions import (
    ABSENT,
    named_version,
    package_version,
    stack_version,
)

ROOT = Path(__file__).parents[2]


def install(site: Path, name: str, version: str, module: str, code: str = "a = 1\n") -> Path:
    """Write a module and its distribution as an installer does; returns the module's file."""
    file = site / module / "__init__.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(code)
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(code.encode()).digest()).decode().rstrip("=")
    (info / "RECORD").write_text(
        f"{module}/__init__.py,sha256={digest},{len(code)}\n"
        f"../../../bin/tool,sha256=abc,1\n{info.name}/RECORD,,\n"
    )
    return file


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_fork_that_keeps_the_import_name_is_told_apart(site: Path) -> None:
    before = stack_version("mmengine")
    install(site, "onedl-mmengine", before, "mmengine")
    assert stack_version("mmengine") == f"onedl-mmengine {before}"
    assert named_version("mmengine") != before


def test_the_module_that_would_be_imported_counts_and_not_the_one_that_is(site: Path) -> None:
    import mmengine  # of the environment

    install(site, "onedl-mmengine", "9.9", "mmengine")
    assert "9.9" not in mmengine.__version__
    assert stack_version("mmengine") == "onedl-mmengine 9.9"
    module = "benchmarks.records.identity.versions"
    code = f"from {module} import stack_version; print(stack_version('mmengine'))"
    path = os.pathsep.join([str(site), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "onedl-mmengine 9.9"


def test_two_distributions_over_each_other_are_told_with_a_hash_of_the_files(site: Path) -> None:
    file = install(site, "mmengine", "0.10.7", "mmengine")
    assert stack_version("mmengine") == "0.10.7"
    install(site, "onedl-mmengine", "0.10.12", "mmengine")
    both = stack_version("mmengine")
    assert both.startswith("0.10.7 + onedl-mmengine 0.10.12 files ")
    file.write_text("a = 2\n")
    assert stack_version("mmengine") != both


def test_an_editable_or_a_bare_module_is_a_hash_of_its_files(site: Path) -> None:
    file = install(site, "mmdet", "3.3.0", "mmdet")
    (site / "mmdet-3.3.0.dist-info" / "direct_url.json").write_text(
        '{"dir_info": {"editable": true}}'
    )
    before = stack_version("mmdet")
    assert before.startswith("files ")
    file.write_text("a = 2\n")
    assert stack_version("mmdet") != before
    assert package_version("mmdet") is None


def test_files_that_were_changed_in_place_are_seen(site: Path) -> None:
    file = install(site, "mmcv", "2.1.0", "mmcv")
    plain = package_version("mmcv")
    later = time.time() + 60
    os.utime(file, (later, later))
    assert stack_version("mmcv") == "2.1.0", "touched, and as it was installed"
    file.write_text("a = 2\n")
    os.utime(file, (later, later))
    assert stack_version("mmcv").startswith("2.1.0 changed ")
    assert package_version("mmcv") != plain
    file.unlink()
    (site / "mmcv" / "__init__.pyi").write_text("")
    (file.parent / "other.py").write_text("")
    assert stack_version("mmcv") != "2.1.0"


def test_a_package_is_its_version_and_its_contents(tmp_path: Path, monkeypatch) -> None:
    found = []
    for number, (version, code) in enumerate(
        [("1.0", "a = 1\n"), ("1.0", "a = 1\n"), ("1.0", "a = 2\n"), ("1.1", "a = 1\n")]
    ):
        with monkeypatch.context() as patch:
            site = tmp_path / str(number)
            patch.syspath_prepend(str(site))
            install(site, "some-helper", version, "helper_of_somebody", code)
            found.append(package_version("helper_of_somebody"))
    assert found[0] is not None
    assert found[0].startswith("some-helper 1.0 (")
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_what_is_absent_is_said_to_be() -> None:
    assert stack_version("no_such_module") == ABSENT
    assert named_version("no-such-distribution") == ABSENT
    assert package_version("no_such_module") is None
    # A distribution that is no module's name, as tasks may give it.
    assert named_version("scikit-learn")[0].isdigit()
