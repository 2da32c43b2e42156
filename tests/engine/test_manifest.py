"""What a manifest says of the checkout."""

from __future__ import annotations

import subprocess

from benchmarks.records.manifest import git_state


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)


def test_only_tracked_changes_make_a_checkout_dirty(tmp_path):
    (tmp_path / "manifest.py").write_text("1\n")
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) == {"commit": None, "dirty": None}, "an untracked copy has no commit"
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    (tmp_path / "rows.csv").write_text("")
    assert git_state(tmp_path)["commit"]
    assert git_state(tmp_path)["dirty"] is False
    (tmp_path / "manifest.py").write_text("2\n")
    assert git_state(tmp_path)["dirty"] is True
