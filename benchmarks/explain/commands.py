"""The commands that repeat a run, and those that go on with one."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.budget import Budget
from benchmarks.explain.subject import Subject
from benchmarks.spec import RunSpec
from benchmarks.suite import load_suite, suite_files
from tasks.errors import UserError

SUITE_FILE = "SUITE.yaml"
"""Stands for a suite file that is not one of the project's own: a manifest does not name it."""


def repeat_command(run: Subject) -> str:
    """Repeats the run alone and says whether its numbers agree."""
    return f"depthbench rerun {shlex.quote(str(run.folder))}"


def suite_command(run: Subject, elsewhere: bool = False) -> str:
    """Goes on with the suite where the run's folder is, or carries it out ``elsewhere`` anew.

    A suite that is not one of the project's own is called ``SUITE.yaml``.
    """
    spec = run.part("spec")
    words = ["depthbench", "run"]
    changes = _changes(spec)
    words += [SUITE_FILE] if changes is None else [str(spec.get("suite")), *changes]
    if spec.get("method_file"):
        words += ["--method-file", str(spec["method_file"])]
    results = None if elsewhere else results_folder(run)
    if results is not None:
        words += ["--results", str(results)]
    return shlex.join(words)


def results_folder(run: Subject) -> Path | None:
    """The folder of results that the run is in; None where its folder lies by itself."""
    folder = run.folder.absolute()
    if folder.parent.name != "runs":
        return None
    results = folder.parent.parent
    return results.relative_to(Path.cwd()) if results.is_relative_to(Path.cwd()) else results


def _changes(spec: Any) -> list[str] | None:
    """Options that make a built-in suite plan this run; None where none does."""
    name = spec.get("suite")
    if name not in suite_files():
        return None
    try:
        suite, asked = load_suite(name), RunSpec.from_dict(spec)
        options = []
        if asked.device != suite.device:
            suite = replace(suite, device=asked.device)
            options += ["--device", asked.device]
        if asked.budget != suite.budget:
            suite = suite.with_budget(asked.budget)
            options += ["--budget", _written(asked.budget)]
        suite = replace(suite, method_file=asked.method_file)
        planned = [each.to_dict() for each in suite.specs()]
    except (UserError, TypeError, ValueError):  # a spec or a suite of another version
        return None
    return options if asked.to_dict() in planned else None


def _written(budget: Budget) -> str:
    def text(amount: float) -> str:
        return f"{amount:g}" if float(f"{amount:g}") == amount else repr(amount)

    return ",".join(f"{currency}={text(amount)}" for currency, amount in budget.amounts.items())
