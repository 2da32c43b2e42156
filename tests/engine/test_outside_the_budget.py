"""Work that no budget pays for is measured and said; the test split is out of reach."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
import torch
from engine.method_runs import Plain, rows_of
from mmengine.hooks import Hook

from benchmarks.meters.clock import TimeLedger
from benchmarks.meters.energy import EnergyMeter
from benchmarks.meters.memory import PeakMemory
from benchmarks.meters.rapl import RaplMeter
from benchmarks.meters.step_costs import StepCosts
from methods import Method, Phase
from tasks.base import TASKS, TaskView, sealed_test_split
from tasks.classification.task import ClassificationTask
from tasks.errors import UserError

CPU = torch.device("cpu")
LONG = 1.0
"""Seconds of work where no budget is charged."""


def works_in(place: str) -> type[Method]:
    """Plain training, and some work at a place."""

    class Ends(Hook):
        def before_train(self, runner: Any) -> None:
            if place == "before_train":
                time.sleep(LONG)

        def after_train(self, runner: Any) -> None:
            if place == "after_train":
                time.sleep(LONG)

    class Working(Plain):
        def setup(self, task: Any) -> None:
            if place == "setup":
                time.sleep(LONG)

        def prepare(self, model: Any) -> Any:
            if place == "prepare":
                time.sleep(LONG)
            return model

        def hooks(self) -> list[Hook]:
            return [Ends()]

        def phases(self, model: Any) -> Any:
            yield Phase("first", share=0.5)
            if place == "between phases":
                time.sleep(LONG)
            yield Phase("second")
            if place == "after the last phase":
                time.sleep(LONG)

        def variants(self, model: Any) -> Any:
            if place == "variants":
                time.sleep(LONG)
            return {"full": model}

    return Working


@pytest.mark.parametrize(
    "place",
    [
        *("setup", "prepare", "before_train", "after_train", "variants"),
        *("between phases", "after the last phase"),
    ],
)
def test_work_where_no_budget_is_charged_is_measured(place, tmp_path):
    found = rows_of(tmp_path, works_in(place), {"steps": 8})
    assert found["unbudgeted_time", "setup"] >= LONG
    assert found["train_time", "first"] + found["train_time", "second"] < LONG


def test_plain_training_has_next_to_none(tmp_path):
    found = rows_of(tmp_path, Plain, {"epochs": 2})
    assert 0 < found["unbudgeted_time", "setup"] < 0.5 * found["train_time", "train"]


def test_an_evaluation_that_trains_is_work_outside_the_budget(tmp_path):
    class Sneaky(Plain):
        def prepare(self, model):
            model.backbone.register_forward_pre_hook(self.work)
            return model

        def work(self, module, args):
            if not module.training:
                with torch.no_grad():
                    for parameter in module.parameters():
                        parameter.mul_(1.0001)
                time.sleep(LONG)

    found = rows_of(tmp_path, Sneaky, {"steps": 8})
    assert found["unbudgeted_time", "setup"] >= LONG
    assert found["eval_time", "train"] < LONG or found["unbudgeted_time", "train"] >= LONG


def test_operations_of_a_methods_hooks_are_spent(tmp_path):
    """At every step, and at the ends of epochs."""
    bare = rows_of(tmp_path / "bare", Plain, {"steps": 8})

    class Busy(Plain):
        size = 64

        def hooks(self):
            class Multiplying(Hook):
                def after_train_iter(self, runner, batch_idx, **_):
                    torch.ones(64, 64) @ torch.ones(64, 64)

                def after_train_epoch(self, runner):
                    torch.ones(128, 128) @ torch.ones(128, 128)

            return [Multiplying()]

    found = rows_of(tmp_path, Busy, {"steps": 8})
    images = found["samples", "train"]
    more = images * (found["train_flops", "setup"] - bare["train_flops", "setup"])
    assert more == pytest.approx(2 * (8 * 64**3 + 128**3))


class Digits:
    """What a method may try to do with its task."""

    @staticmethod
    def by_setup(self: Any, task: Any) -> None:
        next(task.eval_batches("test", CPU))

    @staticmethod
    def by_building(self: Any, task: Any) -> None:
        factory, _ = TASKS.find("classification")
        again = factory(dataset="digits", arch="cifar_resnet8")
        next(again.eval_batches("test", CPU))


@pytest.mark.parametrize(
    ("read", "sentence"),
    [(Digits.by_setup, "asked its task for 'eval_batches'"), (Digits.by_building, "test split")],
)
def test_a_method_cannot_train_on_the_test_split_in_setup(read, sentence, tmp_path):
    kind = type("Cheat", (Plain,), {"setup": read, "__module__": __name__})
    with pytest.raises(UserError, match=sentence):
        rows_of(tmp_path, kind, {"steps": 4})


@pytest.mark.parametrize("place", ["prepare", "train_step", "variants"])
def test_nor_anywhere_else(place, tmp_path):
    task = ClassificationTask(dataset="digits", arch="cifar_resnet8")

    def read(self: Any, *args: Any) -> Any:
        next(task.eval_batches(split="test", device=CPU))

    kind = type("Cheat", (Plain,), {place: read, "__module__": __name__})
    with pytest.raises(UserError, match="test split of digits was read by the method"):
        rows_of(tmp_path, kind, {"steps": 4})


def test_validation_stays_open_and_the_seal_is_lifted_again():
    task = ClassificationTask(dataset="digits", arch="cifar_resnet8")
    with sealed_test_split("training"):
        assert next(task.eval_batches("val", CPU))
        with pytest.raises(UserError, match="read by training"):
            task.evaluate(task.build_model(), "test", CPU)
    assert next(task.eval_batches("test", CPU))


def test_a_view_builds_networks_and_tells_the_classes():
    view = TaskView(ClassificationTask(dataset="digits", arch="cifar_resnet8"))
    assert (view.classes, view.family, view.headline) == (10, "classification", "top1")
    assert view.build_model("cifar_resnet14").backbone is not None
    with pytest.raises(UserError, match="'batches'"):
        view.batches(8, 0, CPU)


@pytest.mark.parametrize("name", ["top1", "train_time", "latency@1", "macs"])
def test_analyse_cannot_write_over_what_was_measured(name, tmp_path):
    class Boasting(Plain):
        metrics = {"gates": "%"}  # noqa: RUF012

        def analyse(self, variant, model, batches):
            return {"gates": 3.0, name: 99.9}

    with pytest.raises(UserError, match=f"returns '{name}' from analyse"):
        rows_of(tmp_path, Boasting, {"steps": 4}, costed=True)


def test_two_phases_of_one_name_are_refused(tmp_path):
    class Twice(Plain):
        def phases(self, model):
            yield Phase("train", share=0.5)
            yield Phase("train")

    with pytest.raises(UserError, match="called 'train', which an earlier one is, too"):
        rows_of(tmp_path, Twice, {"steps": 4})


def test_an_analysis_that_crashes_costs_its_own_metrics_alone(tmp_path):
    class Broken(Plain):
        metrics = {"gates": "%"}  # noqa: RUF012

        def analyse(self, variant, model, batches):
            raise ZeroDivisionError("no gates")

    rows_of(tmp_path, Broken, {"steps": 4})
    text = (tmp_path / "run" / "rows.csv").read_text()
    assert "gates,,%,unavailable,analyse failed: ZeroDivisionError: no gates" in text
    assert ",test,top1," in text


@pytest.mark.parametrize("given", ["text", None, {"gates": "many"}, {"gates": None}])
def test_an_analysis_that_gives_no_numbers_costs_its_own_metrics_alone(given, tmp_path):
    class Odd(Plain):
        metrics = {"gates": "%"}  # noqa: RUF012

        def analyse(self, variant, model, batches):
            return given

    rows_of(tmp_path, Odd, {"steps": 4})
    text = (tmp_path / "run" / "rows.csv").read_text()
    assert "gates,,%,unavailable,analyse " in text
    assert ",test,top1," in text


def test_a_method_that_forgets_to_return_the_model_is_told_so(tmp_path):
    kind = type("Forgets", (Plain,), {"prepare": lambda self, m: None, "__module__": __name__})
    with pytest.raises(UserError, match="prepare of the method tried returned None"):
        rows_of(tmp_path, kind, {"steps": 4})


@pytest.mark.parametrize(
    ("meter", "reads"),
    [
        *((meter, "measurements") for meter in (TimeLedger, RaplMeter, EnergyMeter, PeakMemory)),
        *((StepCosts, reads) for reads in ("measurements", "overall")),
    ],
)
def test_a_meter_that_raises_costs_its_own_rows_alone(meter, reads, tmp_path, monkeypatch):
    def broken(*args: Any) -> Any:
        raise RuntimeError("the meter is broken")

    monkeypatch.setattr(meter, reads, broken)
    found = rows_of(tmp_path, Plain, {"steps": 4})
    text = (tmp_path / "run" / "rows.csv").read_text()
    for metric in meter.metrics:
        assert re.search(rf",{metric},,[^,]*,unavailable,RuntimeError: the meter is broken", text)
    assert text.count("the meter is broken") == text.count(",unavailable,RuntimeError")
    assert ",test,top1," in text
    assert found["optimizer_steps", "train"] == 4


def test_a_run_whose_weights_are_finite_and_outputs_are_not_has_failed(tmp_path):
    class Diverging(Plain):
        def phases(self, model):
            yield Phase()
            for parameter in model.parameters():
                parameter.data.fill_(1e38)

    with pytest.raises(UserError, match=r"training diverged: the outputs for (\d+) of \1 images"):
        rows_of(tmp_path, Diverging, {"steps": 4})


def test_a_run_whose_weights_are_no_numbers_has_failed(tmp_path):
    class Diverging(Plain):
        def variants(self, model):
            raise AssertionError("not reached")

        def phases(self, model):
            yield Phase()
            next(model.parameters()).data.fill_(float("nan"))

    with pytest.raises(UserError, match="training diverged: 'backbone"):
        rows_of(tmp_path, Diverging, {"steps": 4})


@pytest.mark.parametrize("networks", [{}, {"": None}, None])
def test_a_method_that_deploys_nothing_has_failed(tmp_path, networks):
    """Else the run is finished, and its quality is in no row."""

    class Nothing(Plain):
        def variants(self, model):
            return networks

    with pytest.raises(UserError, match=r"variants of the method tried gave .*at least one"):
        rows_of(tmp_path, Nothing, {"steps": 2})


@pytest.mark.parametrize("wrong", [{"share": -0.5}, {"share": 1.5}, {"share": float("nan")}])
def test_a_share_is_a_fraction(wrong):
    with pytest.raises(UserError, match=f"has a share of {wrong['share']}"):
        Phase("first", **wrong)


def test_epochs_are_not_negative():
    with pytest.raises(UserError, match="has -1 epochs"):
        Phase("first", epochs=-1)
