"""Each mistake: one sentence that says what to do, exit code 2, no traceback."""

from __future__ import annotations

import os
import re

import pytest
from end_to_end.end_to_end_helpers import command, write_suite

from benchmarks.launch.planning import plan_runs
from benchmarks.suite import load_suite
from tasks.errors import UserError


def sentence(done) -> str:
    """The one line of stderr."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def plan(path, method_file=None):
    """What the command does before it trains."""
    specs = load_suite(path, method_file).specs()
    return plan_runs([spec.to_dict() for spec in specs], lambda event: None)


WRONG_SUITES = [
    ({"methods": "[end_to_ent]"}, ["tiny.yaml:4", "did you mean 'end_to_end'"]),
    ({"methods": "[replacement: {operater: full}]"}, ["'operater'", "did you mean 'operator'"]),
    ({"methods": "[replacement: {operator: fool}]"}, ["'fool'", "did you mean 'full'"]),
    ({"task": "{name: clasification}"}, ["tiny.yaml", "did you mean 'classification'"]),
    ({"task": "{dataset: digit}"}, ["did you mean 'digits'"]),
    ({"task": "{arch: cifar_resnt20}"}, ["'cifar_resnt20'", "did you mean"]),
    ({"task": "{data_set: digits}"}, ["'data_set'", "did you mean 'dataset'"]),
    ({"budgets": "{epochs: 1}"}, ["tiny.yaml:9", "'budgets'", "did you mean 'budget'"]),
    ({"budget": "{hours: 1}"}, ["tiny.yaml:6", "'hours'"]),
    ({"budget": "{epochs: 0.001}"}, ["less than one"]),
    ({"budget": "{epochs: 1, train_flop: 1e9}"}, ["tiny.yaml:6", "did you mean 'train_flops'"]),
    ({"budget": "{train_flops: 10}"}, ["less than one optimizer step"]),
    ({"target": "{top1: 95, nll: 1}"}, ["tiny.yaml:9", "one value of one metric"]),
    ({"recipe": "{optimizer: {type: SDG}}"}, ["'SDG'", "did you mean 'SGD'"]),
    ({"recipe": "{amp: float16}"}, ["CUDA", "bfloat16"]),
    ({"seeds": "[0, one]"}, ["tiny.yaml:5"]),
    ({"name": "[unclosed"}, ["tiny.yaml"]),
    ({"device": "cuda:7"}, ["cuda:7", "device: cpu"]),
]


@pytest.mark.parametrize(("changes", "told"), WRONG_SUITES, ids=lambda v: str(v)[:40])
def test_wrong_suite_is_refused_before_anything_is_trained(tmp_path, changes, told):
    with pytest.raises(UserError) as error:
        plan(write_suite(tmp_path, **changes))
    for part in told:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"methods": "[end_to_ent]"}, "did you mean 'end_to_end'"),
        ({"methods": "[replacement: {operater: full}]"}, "did you mean 'operator'"),
    ],
)
def test_the_command_says_it_in_one_sentence(tmp_path, changes, told):
    done = command("run", str(write_suite(tmp_path, **changes)), cwd=tmp_path)
    assert told in sentence(done)
    assert not list(tmp_path.glob("results/*/rows.csv"))


def test_two_methods_of_one_name_are_refused(tmp_path):
    suite = write_suite(
        tmp_path,
        methods="[replacement, replacement: {operator: light}]",
        task="{dataset: digits, arch: cifar_resnet26}",
    )
    with pytest.raises(UserError, match="'label'"):
        plan(suite)


def test_absent_data_set(tmp_path):
    root = tmp_path / "data"
    suite = write_suite(tmp_path, task=f"{{dataset: {{name: npy, root: {root}}}}}")
    with pytest.raises(UserError, match=re.escape(str(root))):
        plan(suite)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_data_root_that_cannot_be_written(tmp_path):
    root = tmp_path / "data"
    root.mkdir(mode=0o555)
    suite = write_suite(tmp_path, task=f"{{dataset: mnist, data_root: {root}}}")
    with pytest.raises(UserError, match=re.escape(str(root))):
        plan(suite)


def test_data_root_that_is_a_file(tmp_path):
    root = tmp_path / "data"
    root.write_text("")
    suite = write_suite(tmp_path, task=f"{{dataset: mnist, data_root: {root}}}")
    with pytest.raises(UserError, match=re.escape(str(root))):
        plan(suite)


def test_a_method_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=re.escape("gone.py")):
        plan(write_suite(tmp_path), "gone.py")


def test_unknown_suite(tmp_path):
    assert "did you mean 'quickstart'" in sentence(command("run", "quickstrat", cwd=tmp_path))


def test_table_of_a_folder_without_results(tmp_path):
    assert "depthbench run" in sentence(command("report", "nowhere", cwd=tmp_path))


def test_a_run_that_fails_is_a_row_and_the_rest_goes_on(tmp_path):
    suite = write_suite(
        tmp_path,
        methods="[{name: end_to_end, label: first}, {name: end_to_end, label: second}]",
        recipe="{optimizer: {lr: 1.0e+12}}",
    )
    done = command("run", str(suite), cwd=tmp_path)
    assert done.returncode == 1
    assert "training loss became" in done.stdout
    assert "failed: first" in done.stdout
    assert "failed: second" in done.stdout
