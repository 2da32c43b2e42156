"""The kit on methods that each break one promise: the right check fails and says why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from benchmarks.conformance.checking import CHECK_NAMES, check_method, methods_named, run_check
from benchmarks.conformance.finding import FAILED, PASSED, SKIPPED
from benchmarks.conformance.report import as_text
from benchmarks.conformance.subject import Subject
from methods import METHODS
from tasks.errors import UserError

FILE = Path(__file__).with_name("broken_methods.py")
FAULTS = [
    ("broken_idle", "changes", "are those of end_to_end"),
    ("broken_modest", "changes", "declares changes_nothing, but end_to_end differs in params"),
    ("broken_stuck", "learns", "the loss went from"),
    ("broken_silent", "learns", "no training step returned a 'loss'"),
    ("broken_unseeded", "repeats", "a second run with the same seed ends with other weights"),
    ("broken_counting", "resumes", "resumed ends with other weights"),
    ("broken_wilful", "resumes", "the interrupted run never made step"),
    ("broken_forgetful", "saves", "answers otherwise in 'full'"),
    (
        "broken_unused",
        "gradients",
        "1 of 24 parameters never had a gradient other than zero (spare",
    ),
    ("broken_destroying", "exports", "changed the state (backbone.conv1.weight) of the training"),
    ("broken_noisy", "exports", "'full' answers otherwise when asked again"),
    ("broken_twins", "costs", "'small' and 'large' have the same parameters, MACs and outputs"),
    ("broken_hasty", "accumulates", "there were 4 optimizer steps in 4 batches, without 4"),
    ("broken_picky", "autocasts", "TypeError: "),
    ("broken_crashing", "learns", "KeyError: "),
]


@pytest.fixture(autouse=True, scope="module")
def broken_methods():
    """Register the broken methods for this module only."""
    names = methods_named(str(FILE))
    yield names
    for name in names:
        del METHODS._objects[name]


@pytest.mark.parametrize(("name", "check", "seen"), FAULTS, ids=[name for name, _, _ in FAULTS])
def test_the_check_that_is_meant_fails_and_says_what_it_saw(name, check, seen):
    finding = run_check(Subject(name, epochs=1), check)
    assert finding.status == FAILED, finding
    assert seen in finding.seen
    assert finding.fix
    assert "\n" not in finding.seen + finding.fix


def test_every_broken_method_has_its_case(broken_methods):
    assert sorted(name for name, _, _ in FAULTS) == sorted(broken_methods)


def test_a_crash_fails_one_check_and_the_others_are_skipped():
    checked = check_method("broken_crashing", epochs=1)
    assert not checked.passed
    status = {finding.check: finding.status for finding in checked.findings}
    assert list(status) == list(CHECK_NAMES)
    # Three checks train a few steps of their own and see the crash themselves.
    assert [name for name in CHECK_NAMES if status[name] == FAILED] == [
        "learns",
        "autocasts",
        "accumulates",
        "channels_last",
    ]
    assert list(status.values()).count(SKIPPED) == len(CHECK_NAMES) - 4
    assert "Traceback" not in as_text(checked)
    assert "raise KeyError" in as_text(checked, verbose=True)


def test_a_method_that_keeps_its_promises_passes_where_the_broken_ones_fail():
    subject = Subject("end_to_end", epochs=2)
    findings = [run_check(subject, name) for name in CHECK_NAMES]
    assert {finding.status for finding in findings} == {PASSED}, findings


def test_the_process_is_left_as_it_was(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run_check(Subject("end_to_end", epochs=1), "learns")
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


def test_a_network_that_the_method_refuses_gives_way_to_the_next():
    assert Subject("depth_matched").arch == {"name": "cifar_resnet26", "width": 8}
    with pytest.raises(UserError, match=r"depth_matched accepts none of .*cifar_resnet8.*--arch"):
        Subject("depth_matched", arch="cifar_resnet8")


def test_user_mistakes_are_told_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match="did you mean 'end_to_end'"):
        methods_named("end_to_edn")
    with pytest.raises(UserError, match="unknown option of method 'checkpointing'"):
        Subject("checkpointing", {"evry": 2})
    empty = tmp_path / "nothing_here.py"
    empty.write_text("")
    with pytest.raises(UserError, match="registers no method"):
        methods_named(str(empty))
