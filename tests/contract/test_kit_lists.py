"""The kit names what is wrong with eight methods, and passes six that are honest."""

from __future__ import annotations

import pytest
from conformance.kit_helpers import whole_and_short
from contract import kinds, wrong  # noqa: F401  (register methods)

from benchmarks.conformance.checking import run_check
from benchmarks.conformance.finding import FAILED, PASSED
from benchmarks.conformance.subject import Subject
from tasks.errors import UserError


@pytest.mark.parametrize(
    ("name", "check", "seen"),
    [
        ("wrong_test_images", "learns", "test split of digits was read by the method, while it"),
        ("wrong_variant", "deploys", "on validation is"),
        ("wrong_variants", "untrained", "in variants"),
        ("wrong_updates", "updates", "optimizer steps in"),
        ("wrong_hidden", "holds", "self.teacher"),
        ("wrong_pruning", "resumes", "define structure and restructure"),
    ],
)
def test_a_wrong_method_is_caught_by_name(name: str, check: str, seen: str) -> None:
    finding = run_check(Subject(name, epochs=2), check)
    assert finding.status == FAILED
    assert seen in finding.seen + finding.fix, finding


def test_one_that_trains_in_prepare_is_caught_by_name() -> None:
    finding = run_check(Subject("wrong_prepare", epochs=1), "untrained")
    assert finding.status == FAILED
    assert "in setup or prepare" in finding.seen, finding


def test_one_that_reads_test_labels_is_refused() -> None:
    with pytest.raises(UserError, match="test split of digits was read by the method, in setup"):
        Subject("wrong_test_labels", epochs=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["ema", "kind_sam", "kind_gradients", "kind_distillation", "local", "exits", "int8"]
)
def test_an_honest_method_passes(name: str) -> None:
    findings = whole_and_short(name)
    assert {finding.status for finding in findings} == {PASSED}, [
        finding for finding in findings if finding.status != PASSED
    ]
