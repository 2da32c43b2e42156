"""Real runs of different methods under one metered budget: their rows say that they spent it."""

from __future__ import annotations

import csv
import time

import pytest

from benchmarks.budget import Budget, Target
from benchmarks.engine.run import execute
from benchmarks.launch.planning import plan_runs
from benchmarks.spec import RunSpec
from methods import METHODS, Method

STEP_SECONDS: list[float] = []


@pytest.fixture
def slow():
    """The name of a method that works as plain training does, with every third step repeated."""

    @METHODS.register("slow")
    class Slow(Method):
        changes_nothing = True

        def prepare(self, model):
            STEP_SECONDS.clear()
            return model

        def train_step(self, model, data, optim_wrapper):
            started = time.monotonic()
            if len(STEP_SECONDS) % 3 == 0:
                super().train_step(model, data, optim_wrapper)
            out = super().train_step(model, data, optim_wrapper)
            STEP_SECONDS.append(time.monotonic() - started)
            return out

    yield "slow"
    del METHODS._objects["slow"]


def run(folder, method, budget, **more):
    """The rows of a run on digits: ``(metric, phase)`` to ``(value, reason)``; and its curve."""
    spec = RunSpec(
        suite="tiny",
        profile="smoke",
        task="classification",
        task_options={"dataset": "digits", "arch": "cifar_resnet8"},
        method=method,
        method_options={},
        seed=0,
        budget=Budget(budget),
        recipe={"batch_size": 64},
        device="cpu",
        threads=1,
        **more,
    )
    (plan,) = plan_runs([spec.to_dict()], lambda event: None)
    execute(plan, str(folder / method), lambda event: None)
    with open(folder / method / "rows.csv", newline="") as file:
        rows = {
            (r["metric"], r["phase"]): (float(r["value"]) if r["value"] else None, r["reason"])
            for r in csv.DictReader(file)
        }
    with open(folder / method / "curve.csv", newline="") as file:
        return rows, list(csv.DictReader(file))


@pytest.mark.slow
def test_methods_of_equal_training_flops_spend_them_to_a_step(tmp_path, slow):
    budget = 6e9
    found = {m: run(tmp_path, m, {"train_flops": budget}) for m in ("end_to_end", slow)}
    steps = {}
    for method, (rows, curve) in found.items():
        spent, how = rows["spent_train_flops", "train"]
        an_image = rows["train_flops", "setup"][0]
        assert budget <= spent < budget + 2 * 64 * an_image
        assert how.startswith("counted in")
        assert float(curve[-1]["train_flops"]) == spent
        assert float(curve[-1]["lr"]) == pytest.approx(0, abs=1e-6), "decayed to its own end"
        steps[method] = rows["batches", "train"][0]
    assert steps["end_to_end"] > 1.1 * steps[slow]


@pytest.mark.slow
def test_methods_of_equal_seconds_spend_them_to_a_step(tmp_path, slow):
    for method in ("end_to_end", slow):
        rows, curve = run(tmp_path, method, {"seconds": 1.0})
        spent, note = rows["spent_seconds", "train"]
        charged, how = rows["charged_time", "train"]
        assert spent == pytest.approx(rows["train_time", "train"][0] + charged)
        assert spent >= 1.0
        assert "at the median step" in note
        assert "the median step is charged" in how
        assert float(curve[-1]["lr"]) == pytest.approx(0, abs=1e-6)
    # The bounds hold however busy the machine is; costing makes no steps.
    assert len(STEP_SECONDS) == int(rows["batches", "train"][0])
    assert rows["train_time", "train"][0] - max(STEP_SECONDS) < 1.0


def test_the_counted_budget_of_a_run_is_in_its_rows_and_a_target_has_its_price(tmp_path):
    rows, curve = run(tmp_path, "end_to_end", {"samples": 2560, "epochs": 5}, target=Target(20.0))
    assert rows["spent_samples", "train"][0] == 2560
    assert rows["spent_epochs", "train"][0] == 2
    assert "spent_seconds" not in {metric for metric, _ in rows}
    reached = next(point for point in curve if float(point["top1"]) >= 20.0)
    assert rows["time_to_target", "train"][0] == float(reached["seconds"])
    flops, _ = rows["flops_to_target", "train"]
    assert flops == float(reached["train_flops"])
    images = 64 * int(reached["batch"])
    assert flops == pytest.approx(images * rows["train_flops", "setup"][0], rel=1e-6)
    assert rows["energy_epoch", "train"][0] or rows["energy_epoch", "train"][1]
    assert rows["energy_image@1", "inference"][0] or rows["energy_image@1", "inference"][1]


def test_counting_operations_changes_no_weight(tmp_path):
    plain, _ = run(tmp_path / "plain", "end_to_end", {"epochs": 2})
    counted, _ = run(tmp_path / "counted", "end_to_end", {"epochs": 2}, target=Target(20.0))
    for metric in ("top1", "nll", "ece"):
        assert plain[metric, "test"] == counted[metric, "test"]
