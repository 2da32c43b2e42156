"""Costs of training are those of the steps that a run makes, phase by phase."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from engine.method_runs import BATCH, Plain, Values, rows_of
from torch.utils.flop_counter import FlopCounterMode

from methods import Method, Phase
from tasks.classification.task import ClassificationTask


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Values:
    return rows_of(tmp_path_factory.mktemp("plain"), Plain, {"steps": 24})


def test_one_phase_stands_for_the_run(plain):
    for metric in ("train_flops", "params_trainable", "mem_gradients", "mem_activations"):
        assert plain[metric, "setup"] == plain[metric, "train"]
    assert plain["samples", "train"] == 24 * BATCH
    assert plain["optimizer_steps", "train"] == plain["batches", "train"] == 24
    task = ClassificationTask(dataset="digits", arch="cifar_resnet8")
    batch = next(task.batches(BATCH, 0, torch.device("cpu")).epoch(0))
    with FlopCounterMode(display=False) as counter:
        sum(task.build_model()(**batch, mode="loss").values()).backward()
    assert plain["train_flops", "setup"] == counter.get_total_flops() / BATCH


def test_a_teacher_in_one_phase_is_that_phases_cost(tmp_path, plain):
    class Taught(Plain):
        taught = False

        def phases(self, model):
            yield Phase("teacher", share=0.5)
            self.taught = True
            yield Phase("student", changes={"optimizer": {"type": "Adam", "lr": 1e-3}})

        def train_step(self, model, data, optim_wrapper):
            if self.taught:
                with torch.no_grad():
                    model.backbone(data["inputs"])
            return super().train_step(model, data, optim_wrapper)

    found = rows_of(tmp_path, Taught, {"steps": 24})
    alone, taught = (found["train_flops", phase] for phase in ("teacher", "student"))
    assert alone == plain["train_flops", "train"]
    forward = taught - alone
    assert 0.25 * alone < forward < 0.45 * alone
    assert found["train_flops", "setup"] == pytest.approx((alone + taught) / 2)
    # Adam, which the second phase names, keeps two moments where SGD keeps one.
    assert found["mem_optimizer", "student"] > 1.9 * found["mem_optimizer", "teacher"]
    assert found["mem_optimizer", "setup"] == found["mem_optimizer", "student"]


def test_growing_images_cost_the_mean_over_those_trained_on(tmp_path, plain):
    class Growing(Plain):
        size = 4

        def phases(self, model):
            for self.size in (4, 8):
                yield Phase(f"size={self.size}", share=0.5)

        def train_step(self, model, data, optim_wrapper):
            inputs = F.interpolate(data["inputs"], size=self.size)
            return super().train_step(model, {**data, "inputs": inputs}, optim_wrapper)

    found = rows_of(tmp_path, Growing, {"steps": 24})
    small, large = found["train_flops", "size=4"], found["train_flops", "size=8"]
    assert small < 0.35 * large
    assert large == plain["train_flops", "train"]
    assert found["train_flops", "setup"] == pytest.approx((small + large) / 2)
    assert found["mem_activations", "setup"] == found["mem_activations", "size=8"]


def test_freezing_reports_the_most_that_was_trained(tmp_path, plain):
    class Freezing(Plain):
        def phases(self, model):
            yield Phase("all", share=0.5)
            model.backbone.requires_grad_(False)
            last = list(model.backbone.children())[-1]
            last.requires_grad_(True)
            yield Phase("last")

    found = rows_of(tmp_path, Freezing, {"steps": 24})
    assert found["params_trainable", "all"] == plain["params_trainable", "train"]
    assert found["params_trainable", "last"] == 65 * 10
    assert found["params_trainable", "setup"] == found["params_trainable", "all"]
    assert found["mem_gradients", "last"] == 65 * 10 * 4


def test_a_phase_that_accumulates_makes_the_updates_that_it_makes(tmp_path):
    class Accumulating(Plain):
        def phases(self, model):
            yield Phase("one", share=0.5)
            yield Phase("four", changes={"accumulate": 4})

    found = rows_of(tmp_path, Accumulating, {"epochs": 1})
    batches = found["batches", "one"], found["batches", "four"]
    assert found["optimizer_steps", "one"] == batches[0]
    assert found["optimizer_steps", "four"] == -(-batches[1] // 4)


def test_work_of_a_batch_is_divided_by_the_recipes_batch(tmp_path):
    """What is done once a step, whatever the batch: at 4 images it would count 8 times."""

    class Composing(Plain):
        def train_step(self, model, data, optim_wrapper):
            torch.ones(64, 64) @ torch.ones(64, 64)
            return super().train_step(model, data, optim_wrapper)

    found = rows_of(tmp_path, Composing, {"steps": 4})
    bare = rows_of(tmp_path / "bare", Plain, {"steps": 4})
    extra = found["train_flops", "setup"] - bare["train_flops", "setup"]
    assert extra == pytest.approx(2 * 64**3 / BATCH)


def several_updates(times: int) -> type[Method]:
    class Several(Plain):
        def train_step(self, model, data, optim_wrapper):
            for _ in range(times):
                out = super().train_step(model, data, optim_wrapper)
            return out

    return Several


def test_a_budget_in_steps_is_one_of_updates(tmp_path):
    found = rows_of(tmp_path, several_updates(8), {"steps": 24}, tried=True)
    assert found["batches", "train"] == 3
    assert found["optimizer_steps", "train"] == found["spent_steps", "train"] == 24


def test_images_that_the_data_do_not_have_are_not_counted(tmp_path):
    """A batch of 2,000 of fewer digits is one of all digits."""
    images = ClassificationTask(dataset="digits", arch="cifar_resnet8").train_samples()
    assert images < 2000
    found = rows_of(tmp_path, Plain, {"samples": 2 * images}, recipe={"batch_size": 2000})
    assert found["batches", "train"] == 2
    assert found["samples", "train"] == found["spent_samples", "train"] == 2 * images


def test_a_warm_up_of_all_depths_costs_what_it_does(tmp_path):
    """Each batch goes through every depth: the sum of their costs."""
    fields = {
        "method": "optimal_depth",
        "method_options": {"target_accuracy": 100.0, "warmup_epochs": 1, "tolerance": 0.0},
    }
    found = rows_of(tmp_path, Plain, {"epochs": 5}, **fields)
    phases = {phase for metric, phase in found if metric == "train_flops"}
    depths = [found["train_flops", phase] for phase in phases if phase.startswith("depth=")]
    assert found["train_flops", "warmup"] > sum(depths) / len(depths) * 1.5
    assert min(depths) < found["train_flops", "setup"] < found["train_flops", "warmup"]


def in_a_thread(work: Callable[[], Any]) -> Any:
    from threading import Thread

    thread = Thread(target=work)
    thread.start()
    thread.join()


def test_a_step_in_a_thread_of_its_own_is_counted(tmp_path, plain):
    class Threaded(Plain):
        def train_step(self, model, data, optim_wrapper):
            in_a_thread(lambda: Method.train_step(self, model, data, optim_wrapper))
            return {}

    found = rows_of(tmp_path, Threaded, {"steps": 4})
    assert found["train_flops", "setup"] == plain["train_flops", "setup"]
    assert found["optimizer_steps", "train"] == 4


def test_a_step_that_nobody_saw_has_no_cost_instead_of_none(tmp_path):
    """It multiplies in NumPy and writes the weights by hand."""

    class Hidden(Plain):
        def train_step(self, model, data, optim_wrapper):
            model.backbone.fc.weight.data.numpy()[:] *= 0.99
            return {}

    found = rows_of(tmp_path, Hidden, {"steps": 4})
    assert found["train_flops", "setup"] is None
    assert found["optimizer_steps", "train"] == 0
