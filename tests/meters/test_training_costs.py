"""Costs of a training step, of the run's own parts."""

from __future__ import annotations

import pytest

from benchmarks.budget import Budget
from benchmarks.building import build_run, prepared_model
from benchmarks.conformance.subject import contained
from benchmarks.costing import training_costs
from benchmarks.spec import RunSpec


def train_flops(images: int) -> float:
    """Of an image, in an FCN on a data set of so many."""
    spec = RunSpec(
        suite="tiny",
        profile="smoke",
        task="segmentation",
        task_options={
            "dataset": {"name": "digit_scenes", "train": images, "val": 1, "test": 1, "size": 48},
            "arch": "fcn_tiny",
            "pretrained": "random",
            "image_size": [48, 48],
        },
        method="end_to_end",
        method_options={},
        seed=0,
        budget=Budget({"steps": 1}),
        device="cpu",
        threads=1,
    )
    with contained():
        built = build_run(spec)
        found = {m.metric: m.value for m in training_costs(built, prepared_model(built))}
    return found["train_flops"]


def test_an_image_costs_the_same_where_there_are_fewer_than_are_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("DEPTHBENCH_DATA", str(tmp_path))
    assert train_flops(2) == pytest.approx(train_flops(6), rel=1e-3)
