"""Planning: what a run is called, how long an epoch is, and what is tried beforehand."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from benchmarks.budget import Budget
from benchmarks.launch.planning import plan_runs
from benchmarks.meters import session
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


def plans(seeds=(0,), batch_size=64, method="end_to_end", budget=None, recipe=None, **options):
    specs = [
        RunSpec(
            suite="tiny",
            profile="smoke",
            task="classification",
            task_options={"dataset": "digits", "arch": "cifar_resnet8"},
            method=method,
            method_options={},
            seed=seed,
            budget=Budget(budget or {"epochs": 2}),
            recipe={"batch_size": batch_size, **(recipe or {})},
            device="cpu",
            threads=1,
        ).to_dict()
        for seed in seeds
    ]
    return plan_runs(specs, lambda event: None, **options)


@pytest.mark.parametrize(("batch_size", "batches"), [(64, 20), (1290, 1), (5000, 1)])
def test_an_epoch_has_as_many_batches_as_its_source(batch_size, batches):
    (plan,) = plans(batch_size=batch_size)
    assert (plan["batches_per_epoch"], plan["batches"]) == (batches, 2 * batches)


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


def test_a_counted_budget_has_its_steps_and_a_metered_one_an_estimate():
    (plan,) = plans(budget={"samples": 640, "seconds": 1e6}, estimate=True)
    assert (plan["batches"], plan["expected_batches"]) == (10, 10)
    (plan,) = plans(budget={"seconds": 2.0}, estimate=True)
    assert plan["batches"] is None
    assert plan["seconds"] == pytest.approx(2.0, rel=0.5)
    assert plan["expected_batches"] > 1
    (plan,) = plans(budget={"seconds": 2.0})
    assert (plan["expected_batches"], plan["seconds"]) == (None, None)


def test_a_budget_in_training_flops_is_estimated_from_a_counted_step(monkeypatch):
    (plan,) = plans(budget={"train_flops": 1e10})
    assert plan["seconds"] is None
    (half,) = plans(budget={"train_flops": 1e10}, batch_size=128)
    assert plan["expected_batches"] == pytest.approx(2 * half["expected_batches"], abs=2)


def test_a_budget_of_less_flops_than_a_step_is_refused_with_the_size_of_a_step():
    with pytest.raises(UserError, match=r"100 training FLOPs is less than one optimizer step, .*e"):
        plans(budget={"train_flops": 100})


def test_joules_are_refused_where_no_meter_is(monkeypatch):
    class NoMeter:
        problem = "no RAPL domain on this machine"

        def window(self, name):
            return nullcontext()

        def train_joules(self):
            return None

    monkeypatch.setattr(session, "RaplMeter", NoMeter)
    with pytest.raises(UserError, match=r"needs an energy meter, .*no RAPL domain .*seconds or"):
        plans(budget={"epochs": 1, "joules": 10})


def test_an_operation_that_cannot_be_counted_is_refused_for_a_budget_that_counts_it(strange):
    assert plans(method=strange)
    with pytest.raises(UserError, match=r"no count is known for the operation 'planning_tests"):
        plans(method=strange, budget={"train_flops": 1e9})


@torch.library.custom_op("planning_tests::strange", mutates_args=())
def _strange(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@pytest.fixture
def strange():
    """The name of a method whose step has an operation without a formula."""

    @METHODS.register("strange")
    class Strange(Method):
        changes_nothing = True

        def prepare(self, model):
            return model

        def train_step(self, model, data, optim_wrapper):
            _strange(data["inputs"])
            return super().train_step(model, data, optim_wrapper)

    yield "strange"
    del METHODS._objects["strange"]
