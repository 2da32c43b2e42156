"""Small real runs that the training tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.engine import session as session_module
from benchmarks.engine.hooks import CheckpointHook
from benchmarks.engine.session import TrainingSession
from benchmarks.meters.session import RunMeters
from methods.base import Method
from tasks.classification.task import ClassificationTask


class Interrupted(Exception):
    """Stands for a kill: raised between two steps."""


def save_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save after every step, however short the run."""

    class Eager(CheckpointHook):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "first": 0.0, "longest": 0.0})

    monkeypatch.setattr(session_module, "CheckpointHook", Eager)


def digits(**options: Any) -> ClassificationTask:
    return ClassificationTask(dataset="digits", arch="cifar_resnet8", **options)


def session(
    folder: Path,
    method: Method,
    steps: int,
    report: Callable[[dict[str, Any]], None] = lambda event: None,
    seed: int = 0,
    **recipe: Any,
) -> TrainingSession:
    """A session on real digits with a network of 8 layers, ready to run."""
    task = digits()
    torch.manual_seed(seed)
    model = method.prepare(task.build_model())
    return TrainingSession(
        task=task,
        method=method,
        model=model,
        recipe=replace(task.recipe, **{"batch_size": 64, **recipe}),
        batches=steps,
        seed=seed,
        device=torch.device("cpu"),
        meters=RunMeters(torch.device("cpu")),
        folder=folder,
        validate_every=1,
        report=report,
    )
