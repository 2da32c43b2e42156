"""A run's parts around any network, for what costs it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks.budget import Budget
from benchmarks.engine.building import Built
from benchmarks.spec import RunSpec
from methods.end_to_end import EndToEnd
from tasks.base import Task
from tasks.classification.task import ClassificationTask

CPU = torch.device("cpu")


def digits() -> ClassificationTask:
    return ClassificationTask(dataset="digits", arch="cifar_resnet8", train_size=50)


def built_around(task: Task, sizes: tuple[int, ...] = (1,)) -> Built:
    spec = RunSpec(
        suite="tiny",
        profile="smoke",
        task=task.family,
        task_options={},
        method="end_to_end",
        method_options={},
        seed=0,
        budget=Budget({"steps": 1}),
        device="cpu",
        threads=1,
        latency_batch_sizes=sizes,
    )
    return Built(spec, CPU, task, EndToEnd(), task.recipe, "end_to_end")


class Exits(nn.Module):
    """Leaves after one layer where an image is bright; every row of a batch goes its own way.

    A pass costs an image 64 * 16, and 16 * 16 + 16 * 10 more where it goes on, or 16 * 10.
    """

    FIRST, ON, OUT = 64 * 16, 16 * 16 + 16 * 10, 16 * 10

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.first, self.exit = nn.Linear(64, 16), nn.Linear(16, 10)
        self.second, self.last = nn.Linear(16, 16), nn.Linear(16, 10)

    def leaves(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).mean(1) > self.threshold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = self.leaves(x)
        x = self.first(x.flatten(1)).relu()
        out = x.new_empty(len(x), 10)
        out[bright] = self.exit(x[bright])
        out[~bright] = self.last(self.second(x[~bright]))
        return out


def values(rows: list[Any]) -> dict[str, Any]:
    return {row.metric: row.value for row in rows}


def reasons(rows: list[Any]) -> dict[str, str]:
    return {row.metric: row.reason for row in rows}
