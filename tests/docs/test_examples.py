"""The worked examples of the documentation do what their pages say."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from learning import train
from mmengine.optim import OptimWrapper
from sklearn.datasets import load_digits

from benchmarks.conformance.plugin import conforms
from benchmarks.suite import load_suite
from benchmarks.suites.plugins import import_method_file
from methods import METHODS
from methods.blocks import block_view
from methods.end_to_end import EndToEnd
from tasks.base import TASKS
from tasks.errors import UserError

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
CPU = torch.device("cpu")

test_half_depth = pytest.mark.slow(conforms(str(EXAMPLES / "half_depth.py")))


@pytest.fixture(scope="module")
def task():
    import_method_file(EXAMPLES / "quarter_turns.py")
    task = TASKS.get("quarter_turns")()
    task.check()
    return task


def first(task, epoch, *, seed=0, start=0, batches=3):
    source = task.batches(64, seed, CPU)
    found = itertools.islice(source.epoch(epoch, start), batches)
    return [(batch["inputs"], batch["data_samples"]) for batch in found]


def same(one, other) -> bool:
    alike = map(torch.equal, itertools.chain(*one), itertools.chain(*other))
    return len(one) == len(other) and all(alike)


def test_the_task_gives_the_same_batches_again_and_others_elsewhere(task):
    assert same(first(task, 2), first(task, 2))
    assert same(first(task, 2, start=1, batches=2), first(task, 2)[1:])
    assert not same(first(task, 2), first(task, 3))
    assert not same(first(task, 2), first(task, 2, seed=1))


def test_an_epoch_of_the_task_holds_each_picture_at_most_once(task):
    source = task.batches(64, 0, CPU)
    batches = list(source.epoch(0))
    assert len(batches) == len(source) == task.train_samples() // 64
    upright = torch.cat(
        [
            torch.rot90(picture, -int(turns), (1, 2))[None]
            for batch in batches
            for picture, turns in zip(batch["inputs"], batch["data_samples"], strict=True)
        ]
    )
    known = {(image / 16).astype(np.float32).tobytes() for image in load_digits().images[:1200]}
    shown = [picture.numpy().tobytes() for picture in upright]
    assert set(shown) <= known
    # Digits repeat themselves now and then, batches do not.
    assert len(set(shown)) >= 0.99 * len(shown)


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_of_the_task_asks_for_every_turn_of_each_picture(task, split):
    batches = list(task.eval_batches(split, CPU))
    assert [batch["data_samples"].unique().tolist() for batch in batches] == [[0], [1], [2], [3]]
    upright = batches[0]["inputs"]
    for turns, batch in enumerate(batches):
        assert torch.equal(batch["inputs"], torch.rot90(upright, turns, (2, 3)))
    assert sum(len(batch["inputs"]) for batch in batches) == 4 * len(upright)


def test_splits_of_the_task_do_not_overlap(task):
    sizes = {s: len(next(task.eval_batches(s, CPU))["inputs"]) for s in ("train", "val", "test")}
    assert sum(sizes.values()) == len(load_digits().images)
    assert sizes["train"] == task.train_samples()
    with pytest.raises(UserError, match="split"):
        next(task.eval_batches("tset", CPU))


def test_the_task_tells_a_wrong_network_before_anything_is_trained(task):
    with pytest.raises(UserError, match="cifar_resnet"):
        type(task)(arch="cifar_resnt8").check()


def test_any_method_finds_blocks_in_the_model_of_the_task(task):
    model = task.build_model("cifar_resnet26")
    before = len(block_view(model))
    model = METHODS.get("depth_matched")().prepare(model)
    assert len(block_view(model)) < before
    assert task.forward(model, task.example_input(2, CPU)).shape == (2, 4)


def learnt(task, seed=0, epochs=4):
    """Top-1 on validation before and after a short training."""
    torch.manual_seed(seed)
    model = task.build_model()
    before = task.evaluate(model, "val", CPU)["top1"]
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
    train(EndToEnd(), model, wrapper, task.batches(64, seed, CPU).epoch, epochs)
    return before, task.evaluate(model, "val", CPU)["top1"]


def test_the_model_of_the_task_learns_to_see_turns(task):
    before, after = learnt(task)
    # 8 seeds each, AVX-512 and AVX2: before 23.9 ± 5.1, after 84.1 ± 0.5 (min. 83.5).
    assert before < 45
    assert after > 65


def test_the_suite_of_the_task_can_be_read():
    suite = load_suite(EXAMPLES / "quarter_turns.yaml", EXAMPLES / "quarter_turns.py")
    assert [task.name for task in suite.tasks] == ["quarter_turns"]
    assert len(suite.specs()) == 9


def test_suites_on_the_pages_can_be_read(tmp_path):
    import_method_file(EXAMPLES / "half_depth.py")
    found = 0
    for page in sorted(EXAMPLES.parent.glob("*.md")):
        for block in page.read_text(encoding="utf-8").split("```yaml\n")[1:]:
            text = block.partition("```")[0]
            if "--8<--" in text or "budget" not in (yaml.safe_load(text) or {}):
                continue
            file = tmp_path / "suite.yaml"
            file.write_text(text, encoding="utf-8")
            assert load_suite(file).specs(), page.name
            found += 1
    assert found >= 3
