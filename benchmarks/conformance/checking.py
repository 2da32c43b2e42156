"""Run the checks on a method, each in safety from the others."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.conformance.checks import CHECKS
from benchmarks.conformance.figures import Figure, figures
from benchmarks.conformance.finding import FAILED, Finding, failed, skipped
from benchmarks.conformance.subject import NoRun, Subject, contained
from benchmarks.conformance.task_checks import TASK_CHECKS, TaskSubject
from benchmarks.spec import derive_label
from benchmarks.suites.plugins import import_method_file
from methods.base import METHODS
from tasks.base import TASKS
from tasks.errors import UserError, unknown_name
from tasks.registry import match

CHECK_NAMES = tuple(check.__name__ for check in CHECKS)


@dataclass(frozen=True)
class Checked:
    """The findings on one method, and its figures where it could be trained."""

    method: str
    options: Mapping[str, Any]
    task: str
    dataset: str
    arch: Any
    epochs: int
    findings: Sequence[Finding]
    figures: Sequence[Figure]
    seconds: float

    @property
    def label(self) -> str:
        """Name and options."""
        return derive_label(self.method, self.options)

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(finding.status != FAILED for finding in self.findings)


@dataclass(frozen=True)
class CheckedTask:
    """The findings on one task."""

    task: str
    options: Mapping[str, Any]
    dataset: str
    findings: Sequence[Finding]
    seconds: float

    @property
    def label(self) -> str:
        """Name and options."""
        return derive_label(self.task, self.options)

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(finding.status != FAILED for finding in self.findings)


def check_method(
    name: str,
    options: Mapping[str, Any] | None = None,
    arch: str | Mapping[str, Any] | None = None,
    epochs: int | None = None,
    task: str = "classification",
) -> Checked:
    """All checks on one registered method.

    Args:
        name: a registered method.
        options: its options, beside those of its ``tried_with``.
        arch: the network, as a suite writes it; by default the first small one it accepts.
        epochs: of the full run; by default those of ``tried_with``, or the family's.
        task: the family that it is tried on: ``classification``, ``detection`` or
            ``segmentation``.

    Raises:
        UserError: a name or an option is wrong, or the method accepts none of the networks.
    """
    started = time.perf_counter()
    subject = Subject(name, options, arch, epochs, task)
    findings = [run_check(subject, check) for check in CHECK_NAMES]
    try:
        with contained():
            found = figures(subject)
    except Exception:  # whatever is wrong, a check has said it
        found = []
    seconds = time.perf_counter() - started
    return Checked(
        name,
        subject.options,
        task,
        subject.dataset,
        subject.arch,
        subject.epochs,
        findings,
        found,
        seconds,
    )


def check_task(name: str, options: Mapping[str, Any] | None = None) -> CheckedTask:
    """All checks on one registered task.

    Args:
        name: a registered task.
        options: its options.

    Raises:
        UserError: a name or an option is wrong, or the task's data are not there.
    """
    started = time.perf_counter()
    with contained():
        subject = TaskSubject(name, options)
    findings = [
        replace(attempted(partial(check, subject)), check=check.__name__) for check in TASK_CHECKS
    ]
    seconds = time.perf_counter() - started
    return CheckedTask(name, subject.options, subject.task.dataset, findings, seconds)


def run_check(subject: Subject, name: str) -> Finding:
    """One check by its name; an exception is a failure, reported in one line.

    Raises:
        UserError: no check has that name.
    """
    known = dict(zip(CHECK_NAMES, CHECKS, strict=True))
    if name not in known:
        raise unknown_name("check", name, known)
    return replace(attempted(partial(known[name], subject)), check=name)


def attempted(check: Callable[[], Finding]) -> Finding:
    """What a check finds; an exception is a failure, reported in one line."""
    with contained():
        try:
            return check()
        except NoRun:
            return skipped("needs the trained model, and training it failed")
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            finding = failed(
                f"{type(error).__name__}: {lines[0]}", "--verbose shows where it was raised"
            )
            return replace(finding, traceback=traceback.format_exc())


def named(target: str) -> tuple[list[str], list[str]]:
    """The methods and the tasks that a user means: of a name, or all that a file registers.

    Raises:
        UserError: no such file or name, or the file registers neither.
    """
    if not target.endswith(".py"):
        if all(match(pattern, target) is None for pattern in METHODS.names()):
            if any(match(pattern, target) is not None for pattern in TASKS.names()):
                return [], [target]
        METHODS.find(target)
        return [target], []
    import_method_file(target)
    file = Path(target).resolve()
    found = [
        [entry.name for entry in registry.entries() if source_file(entry.module) == file]
        for registry in (METHODS, TASKS)
    ]
    if not any(found):
        raise UserError(
            f"{target} registers no method and no task: decorate a class with "
            "@METHODS.register('name') or @TASKS.register('name')"
        )
    return found[0], found[1]


def methods_named(target: str) -> list[str]:
    """The methods of :func:`named`.

    Raises:
        UserError: there is none.
    """
    methods, _ = named(target)
    if not methods:
        raise UserError(
            f"{target} registers no method: decorate a class with @METHODS.register('name')"
        )
    return methods


def source_file(module: str) -> Path | None:
    """The file of an imported module."""
    origin = getattr(sys.modules.get(module), "__file__", None)
    return Path(origin).resolve() if origin else None
