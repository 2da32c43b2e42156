"""Planning: what a run is called, how long an epoch is, and what is tried beforehand."""

from __future__ import annotations

import pytest

from benchmarks.budget import Budget
from benchmarks.planning import plan_runs
from benchmarks.spec import RunSpec
from methods import METHODS, Method
from tasks.errors import UserError


@pytest.fixture
def touchy():
    """A method that counts how often it was prepared and how many steps it made."""

    @METHODS.register("touchy")
    class Touchy(Method):
        changes_nothing = True
        prepared = steps = 0

        def prepare(self, model):
            Touchy.prepared += 1
            return model

        def train_step(self, model, data, optim_wrapper):
            Touchy.steps += 1
            return super().train_step(model, data, optim_wrapper)

    yield Touchy
    del METHODS._objects["touchy"]


def plans(seeds=(0,), batch_size=64, method="end_to_end", **options):
    specs = [
        RunSpec(
            suite="tiny",
            profile="smoke",
            task="classification",
            task_options={"dataset": "digits", "arch": "cifar_resnet8"},
            method=method,
            method_options={},
            seed=seed,
            budget=Budget({"epochs": 2}),
            recipe={"batch_size": batch_size},
            device="cpu",
            threads=1,
        ).to_dict()
        for seed in seeds
    ]
    return plan_runs(specs, lambda event: None, **options)


@pytest.mark.parametrize(("batch_size", "batches"), [(64, 20), (1290, 1), (5000, 1)])
def test_an_epoch_has_as_many_batches_as_its_source(batch_size, batches):
    (plan,) = plans(batch_size=batch_size)
    assert (plan["batches_per_epoch"], plan["steps"]) == (batches, 2 * batches)


def test_only_what_is_left_to_run_is_tried(touchy):
    first, second = plans((0, 1), method="touchy")
    assert (touchy.prepared, touchy.steps, first["seconds"]) == (1, 0, None)
    done = {first["run_id"]}
    first, second = plans((0, 1), method="touchy", estimate=True, finished=done)
    assert touchy.prepared == 2
    assert touchy.steps in (1, 4), "one slow step, or three after one to warm up"
    assert first["seconds"] is None
    assert second["seconds"] > 0
    steps, done = touchy.steps, {first["run_id"], second["run_id"]}
    again = plans((0, 1), method="touchy", estimate=True, finished=done)
    assert [plan["run_id"] for plan in again] == [first["run_id"], second["run_id"]]
    assert (touchy.prepared, touchy.steps) == (2, steps)


def test_a_run_is_filed_under_the_family_of_its_task():
    (plan,) = plans()
    assert plan["task"] == "classification"


def test_runs_that_rows_could_not_tell_apart_are_refused():
    with pytest.raises(UserError, match="give one of the methods a 'label'"):
        plans((0, 0))
