"""What goes wrong while a suite is checked: one sentence with file, line, run and place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.launch.local import ForkServer
from benchmarks.launch.preload import PRELOAD
from benchmarks.launch.suite_run import plan_suite, read_suite_file
from tasks.errors import UserError

BROKEN = '''\
import os, signal, sys
from dataclasses import dataclass
from methods import METHODS, Method, block_view


@METHODS.register("broken")
@dataclass
class Broken(Method):
    """Fails where it is asked to."""

    at: str = ""
    count: int = 1
    changes_nothing = True

    def __post_init__(self):
        self.fail("build")

    def fail(self, at):
        if self.at == at:
            raise KeyError("lost")  # line 20

    def setup(self, task):
        self.fail("setup")

    def prepare(self, model):
        self.fail("prepare")
        if self.at == "exit":
            sys.exit("bye")
        if self.at == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.at == "torch":
            model.backbone.conv1(model)
        return model

    def train_step(self, model, data, optim_wrapper):
        self.fail("train_step")
        return super().train_step(model, data, optim_wrapper)
'''
SUITE = """\
name: mine
task: {task}
methods:
  - {method}
seeds: [3]
budget: {{steps: 2}}
recipe: {recipe}
device: cpu
threads: 1
"""
DIGITS = "{dataset: digits, arch: cifar_resnet8, train_size: 64}"


@pytest.fixture(scope="module")
def server():
    with ForkServer(PRELOAD) as running:
        yield running


@pytest.fixture
def refusal(server, tmp_path):
    """The sentence that a suite is refused with."""
    file, own = tmp_path / "mine.yaml", tmp_path / "broken.py"
    own.write_text(BROKEN)

    def of(method="end_to_end", task=DIGITS, recipe="{batch_size: 32}"):
        text = SUITE.format(task=task, method=method, recipe=recipe)
        file.write_text(text)
        with pytest.raises(UserError) as caught:
            plan_suite(server, read_suite_file(server, str(file), own))
        sentence = str(caught.value).replace(f"{tmp_path}/", "")
        assert "could not be planned" not in sentence
        assert "\n" not in sentence
        return sentence

    return of


RUN = "mine.yaml:4: broken(at={at}) on digits with cifar_resnet8, seed 3: "


@pytest.mark.parametrize("at", ["build", "setup", "prepare", "train_step"])
def test_a_crash_of_a_method_names_it_and_the_line_and_keeps_the_traceback(refusal, at):
    sentence = refusal(f"broken: {{at: {at}}}")
    assert sentence.startswith(RUN.format(at=at))
    found = re.search(r"KeyError: 'lost' at \S*broken\.py:20 \(traceback in (.+)\)$", sentence)
    assert found, sentence
    kept = Path(found[1])
    assert "line 20, in fail" in kept.read_text()
    kept.unlink()


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ("exit", r"SystemExit: bye at \S*broken\.py:28 "),
        ("kill", r"the process that checked it ended: killed by SIGKILL"),
        ("torch", r"Error: .* at \S*broken\.py:32 \(traceback in "),
    ],
)
def test_a_method_that_ends_its_process_or_fails_inside_of_a_library_is_named(refusal, at, says):
    sentence = refusal(f"broken: {{at: {at}}}")
    assert sentence.startswith(RUN.format(at=at))
    assert re.search(says, sentence), sentence


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("broken: {count: many}", "'count' of method 'broken' must be a whole number, got 'many'"),
        ("broken: {count: 1.5}", "must be a whole number, got 1.5"),
        ("broken: {count: yes}", "must be a whole number, got true"),
        ("broken: {count: [1]}", "must be a whole number, got [1]"),
        ("broken: {at: 5}", "'at' of method 'broken' must be text, got 5"),
        (
            "replacement: {adjacent: maybe}",
            "'adjacent' of method 'replacement' must be true or false, got 'maybe'",
        ),
        ("depth_matched: {blocks: 3}", "a list of whole numbers or null, got 3"),
        ("depth_matched: {blocks: [a]}", 'a list of whole numbers or null, got ["a"]'),
        ("mind: {norm: high}", "'norm' of method 'mind' must be a number, got 'high'"),
    ],
)
def test_an_option_of_another_type_is_refused_with_what_was_expected_and_given(
    refusal, method, says
):
    sentence = refusal(method)
    assert sentence.startswith("mine.yaml:4: ")
    assert "seed 3: option " in sentence
    assert says in sentence


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("{train_size: few}", "'train_size' of task 'classification' must be a whole number or"),
        ("{corruptions: maybe}", "'corruptions' of task 'classification' must be true or false"),
        ("{augment: flip}", "'augment' of task 'classification' must be a mapping or null"),
        ("{augment: {pad: wide}}", "'pad' of augment must be a whole number, got 'wide'"),
        ("{arch: {name: cifar_resnet8, width: x}}", "'width' of network cifar_resnet8 must be a"),
        ("{arch: {name: 8}}", "the name of arch must be text, got 8"),
        ("{dataset: [digits]}", "'dataset' of task 'classification' must be text or a mapping"),
        (
            "{name: detection, dataset: digit_scenes, image_size: big}",
            "'image_size' of task 'detection' must be a list of whole numbers or null, got 'big'",
        ),
        (
            "{name: segmentation, dataset: digit_scenes, eval_batch_size: 2.5}",
            "'eval_batch_size' of task 'segmentation' must be a whole number or null, got 2.5",
        ),
    ],
)
def test_an_option_of_a_task_is_refused_at_the_line_of_the_task(refusal, task, says):
    sentence = refusal(task=task)
    assert sentence.startswith("mine.yaml:2: end_to_end on ")
    assert says in sentence


@pytest.mark.parametrize(
    ("method", "task", "says"),
    [
        (
            "end_to_end",
            "{dataset: digits, arch: alexnet}",
            "mine.yaml:2: end_to_end on digits with alexnet, seed 3: alexnet does not take images",
        ),
        (
            "depth_matched",
            "{dataset: digits, arch: shufflenet_v2_x0_5}",
            "mine.yaml:4: depth_matched on digits with shufflenet_v2_x0_5, seed 3: there is no",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_named_with_its_run(refusal, method, task, says):
    assert says in refusal(method, task)


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ("{optimizer: {type: SDG}}", "mine.yaml:7: end_to_end on digits"),
        ("{optimizer: {beta: 1}}", "the recipe's optimizer"),
    ],
)
def test_a_recipe_that_no_optimizer_takes_is_refused_with_its_run(refusal, recipe, says):
    assert says in refusal(recipe=recipe)


def test_a_method_file_that_cannot_be_imported_is_named_with_its_line(server, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        SUITE.format(task=DIGITS, method="mind", recipe="{batch_size: 32}")
    )
    for text, says in (
        ("import os\n\nx = undefined\n", r"NameError: .*undefined.* at \S*own\.py:3$"),
        ("import sys\nsys.exit(3)\n", r"SystemExit: 3 at \S*own\.py:2$"),
        ("def f(:\n", r"SyntaxError: .* at \S*own\.py:1$"),
    ):
        (tmp_path / "own.py").write_text(text)
        with pytest.raises(UserError, match=says):
            read_suite_file(server, str(tmp_path / "mine.yaml"), tmp_path / "own.py")
