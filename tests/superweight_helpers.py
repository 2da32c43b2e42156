"""Shapes, small ensembles and small runs that the SuperWeight tests share."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import torch

from benchmarks.engine.session import TrainingSession
from benchmarks.meters.session import RunMeters
from methods.superweight import SuperWeight
from methods.superweight.ensemble import Ensemble
from tasks.classification.task import ClassificationTask


def wrn_shapes(depth: int, width: int) -> list[tuple[int, int, int, int]]:
    """Weight shapes of a wide ResNet's convolutions, written down from its definition."""
    shapes, before = [(16, 3, 3, 3)], 16
    for channels in (16 * width, 32 * width, 64 * width):
        for block in range((depth - 4) // 6):
            shapes.append((channels, before, 3, 3))
            shapes.append((channels, channels, 3, 3))
            if block == 0:
                shapes.append((channels, before, 1, 1))
            before = channels
    return shapes


def digits(arch: str = "wrn_10_1", train_images: int = 1290) -> ClassificationTask:
    """The digits with so many images to train with; the rest of 1,433 validate."""
    return ClassificationTask(dataset="digits", arch=arch, val_size=1433 - train_images)


def ensemble(seed: int = 0, **options: Any) -> tuple[SuperWeight, Ensemble, ClassificationTask]:
    """A method, its prepared ensemble and the task; two tiny members unless said otherwise."""
    method = SuperWeight(**{"members": ["wrn_16_1", "wrn_10_1"], **options})
    task = digits()
    method.setup(task)
    torch.manual_seed(seed)
    return method, method.prepare(task.build_model()), task


def images(count: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


CPU = torch.device("cpu")
EPOCH = 4
"""Batches of 32 in the 128 images that are left for training."""


class Interrupted(Exception):
    """Stands for a kill: raised between two steps."""


class Killed(SuperWeight):
    def kill_at(self, step):
        self.countdown = itertools.count(step, -1)
        return self

    def train_step(self, model, data, optim_wrapper):
        if next(self.countdown) == 0:
            raise Interrupted
        return super().train_step(model, data, optim_wrapper)


def session(folder, method, steps, images=128, **recipe):
    task = digits("wrn_10_1", images)
    method.setup(task)
    torch.manual_seed(0)
    return TrainingSession(
        task=task,
        method=method,
        model=method.prepare(task.build_model()),
        recipe=replace(task.recipe, **{"batch_size": 32, **recipe}),
        batches=steps,
        seed=0,
        device=CPU,
        meters=RunMeters(CPU),
        folder=folder,
        validate_every=100,
        report=lambda event: None,
    )


def rows(model):
    return [bank.rows.tolist() for bank in model.backbone.banks]


TWO = {"members": ["wrn_16_1", "wrn_10_1"], "max_params": 200_000}

SEARCHES = {
    **TWO,
    "max_params": 400_000,
    "clusters": "search",
    "search_epochs": 1,
    "coefficients": "search",
    "beta": 0.5,
    "coefficient_epochs": 0,
}
