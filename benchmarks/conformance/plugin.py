"""The kit as pytest tests, for the project of a method's author.

Two lines make a test of every check::

    from benchmarks.conformance.plugin import conforms

    test_half_depth = conforms("half_depth.py", {"keep_first": 1})
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from benchmarks.conformance.checking import CHECK_NAMES, methods_named, run_check
from benchmarks.conformance.finding import FAILED, SKIPPED
from benchmarks.conformance.settings import ground_of
from benchmarks.conformance.subject import Subject


def conforms(
    target: str,
    options: Mapping[str, Any] | None = None,
    arch: str | Mapping[str, Any] | None = None,
    epochs: int | None = None,
    task: str = "classification",
) -> Callable[[str, str], None]:
    """A test function, parametrised over the checks; the trained model is shared by all of them.

    Args:
        target: a registered method, or a Python file that registers some.
        options: the method's options.
        arch: the network, as a suite writes it; by default the first small one it accepts.
        epochs: of the full run, of some 20 batches each; by default 3, or what the family needs.
        task: the family that it is tried on: ``classification``, ``detection`` or
            ``segmentation``.

    Raises:
        UserError: no such file, method or family.
    """
    ground_of(task)

    @functools.cache
    def subject(name: str) -> Subject:
        return Subject(name, options, arch, epochs, task)

    @pytest.mark.parametrize("check", CHECK_NAMES)
    @pytest.mark.parametrize("name", methods_named(target))
    def test(name: str, check: str) -> None:
        finding = run_check(subject(name), check)
        if finding.status == SKIPPED:
            pytest.skip(finding.seen)
        if finding.status == FAILED:
            message = f"{finding.seen}; fix: {finding.fix}\n{finding.traceback}"
            pytest.fail(message.rstrip(), pytrace=False)

    return test
