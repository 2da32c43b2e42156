"""A detector's or segmentor's run that was killed and resumed equals one that was not."""

from __future__ import annotations

import csv
import signal
from typing import Any

import pytest
import torch
from engine.training_helpers import Interrupted

from benchmarks.conformance.subject import contained
from benchmarks.engine import session as session_module
from benchmarks.engine.hooks import CheckpointHook
from benchmarks.engine.run import execute
from benchmarks.engine.session import TrainingSession
from benchmarks.engine.stopping import PROCESS, StopRun
from benchmarks.launch.planning import plan_runs
from benchmarks.meters.session import RunMeters
from benchmarks.records.store import read_manifest, read_rows
from methods import METHODS, Method
from tasks.base import TASKS, Task

# A two-stage detector draws which proposals it learns from, FCN which features it drops.
ARCHS = {"detection": "faster_rcnn_tiny", "segmentation": "fcn_tiny"}
STEPS = 7  # two epochs of three batches and a part of a third
BATCH = 4
CPU = torch.device("cpu")


def options(task: str) -> dict[str, Any]:
    return {
        "dataset": {"name": "digit_scenes", "train": 3 * BATCH, "val": 4, "test": 4, "size": 64},
        "arch": {
            "name": ARCHS[task],
            "model.backbone.depth": 18,
            **(
                {"model.neck.in_channels": [16, 32, 64, 128]}
                if task == "detection"
                else {
                    "model.decode_head.in_channels": 128,
                    "model.auxiliary_head.in_channels": 64,
                }
            ),
        },
        "pretrained": "random",
        "schedule": "small",
        "image_size": [64, 64],
        "eval_batch_size": 4,
    }


class Stopping(Method):
    """Plain training that can be killed before a step."""

    changes_nothing = True
    stop_at: int | None = None
    told_at: int | None = None

    def __init__(self) -> None:
        self.steps = 0

    def prepare(self, model):
        return model

    def train_step(self, model, data, optim_wrapper):
        self.steps += 1
        if self.steps == self.stop_at:
            raise Interrupted
        if self.steps == self.told_at:
            PROCESS.number = signal.SIGTERM
        return super().train_step(model, data, optim_wrapper)


@pytest.fixture(autouse=True, scope="module")
def data_root(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEPTHBENCH_DATA", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    """Save after every step, however short the run."""

    class Eager(CheckpointHook):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "first": 0.0, "longest": 0.0})

    monkeypatch.setattr(session_module, "CheckpointHook", Eager)


def trained(task: Task, folder, stop_at: int | None = None, told_at: int | None = None):
    """The weights and the curve, without its times, of a run of ``STEPS`` batches."""
    torch.manual_seed(0)
    method = Stopping()
    method.stop_at, method.told_at = stop_at, told_at
    model = method.prepare(task.build_model())
    recipe = task.recipe
    session = TrainingSession(
        task=task,
        method=method,
        model=model,
        recipe=type(recipe)(**{**vars(recipe), "batch_size": BATCH}),
        batches=STEPS,
        seed=0,
        device=CPU,
        meters=RunMeters(CPU),
        folder=folder,
        validate_every=1,
        report=lambda event: None,
    )
    with contained():
        state = session.run()
    curve = [{k: v for k, v in point.items() if k != "seconds"} for point in state.curve]
    return model.state_dict(), curve, method.steps


@pytest.mark.slow
@pytest.mark.parametrize("family", ARCHS)
def test_resumed_at_any_step_equals_uninterrupted(family, tmp_path):
    factory, _ = TASKS.find(family)
    task = factory(**options(family))
    whole, curve, _ = trained(task, tmp_path / "whole")
    # In the first epoch, at the start of the second, and after its validation.
    for stop_at in (3, 4, 6):
        folder = tmp_path / f"cut_{stop_at}"
        with pytest.raises(Interrupted):
            trained(task, folder, stop_at)
        resumed, resumed_curve, steps = trained(task, folder)
        assert steps == STEPS - stop_at + 1
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)
        assert repr(resumed_curve) == repr(curve)
    # By a signal in the last step of an epoch, before its validation.
    try:
        with pytest.raises(StopRun):
            trained(task, tmp_path / "told", told_at=3)
    finally:
        PROCESS.number = None
    resumed, resumed_curve, steps = trained(task, tmp_path / "told")
    assert steps == STEPS - 3
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert repr(resumed_curve) == repr(curve)


def test_the_draws_of_a_step_matter(tmp_path):
    """Else the test above would prove little."""
    factory, _ = TASKS.find("detection")
    task = factory(**options("detection"))
    model = task.build_model().train()
    (batch, *_) = task.batches(BATCH, 0, CPU).epoch(0)

    def losses(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        data = model.data_preprocessor(batch, True)
        found = model(**data, mode="loss")
        return [found["loss_cls"], found["loss_bbox"]]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


@pytest.fixture
def registered():
    METHODS.register("stopping")(Stopping)
    yield Stopping
    Stopping.stop_at = None
    del METHODS._objects["stopping"]


@pytest.mark.slow
@pytest.mark.parametrize("family", ARCHS)
def test_rows_curve_and_weights_of_a_resumed_run_are_those_of_a_whole_one(
    family, registered, tmp_path
):
    spec = {
        "suite": "tiny",
        "profile": "smoke",
        "task": family,
        "task_options": options(family),
        "method": "stopping",
        "method_options": {},
        "seed": 0,
        "budget": {"steps": STEPS},
        "recipe": {"batch_size": BATCH},
        "device": "cpu",
        "threads": 1,
    }
    with contained():
        (planned,) = plan_runs([spec], lambda event: None)
        assert (planned["batches_per_epoch"], planned["batches"]) == (3, STEPS)
        assert planned["task"] == family
        execute(planned, str(tmp_path / "whole"), lambda event: None)
        registered.stop_at = 5
        with pytest.raises(Interrupted):
            execute(planned, str(tmp_path / "cut"), lambda event: None)
        registered.stop_at = None
        execute(planned, str(tmp_path / "cut"), lambda event: None)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert len(read_manifest(cut)["segments"]) == 2
    assert exact_rows(whole) == exact_rows(cut)
    assert curve(whole) == curve(cut)
    one, other = (torch.load(folder / "checkpoints" / "latest.pth") for folder in (whole, cut))
    assert one["state_dict"].keys() == other["state_dict"].keys()
    for name, tensor in one["state_dict"].items():
        assert torch.equal(tensor, other["state_dict"][name]), name


def exact_rows(folder):
    """Every row that time and the machine have no part in."""
    rows = [
        (row.task, row.variant, row.phase, row.metric, row.value, row.status)
        for row in read_rows(folder / "rows.csv")
        if row.unit not in ("s", "J", "images/s", "W") and not row.metric.startswith("mem_peak")
    ]
    scored = {row[3] for row in rows if row[2] == "test"}
    assert {"box_ap", "box_ap50"} <= scored or {"miou", "aacc"} <= scored
    assert {"params", "train_flops", "macs", "macs_backbone"} <= {row[3] for row in rows}
    return rows


def curve(folder):
    """The lines of the curve without their times."""
    with open(folder / "curve.csv", newline="") as file:
        return [{k: v for k, v in line.items() if k != "seconds"} for line in csv.DictReader(file)]
