"""What a method does once after training: calibration, recomputed statistics of norm layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.model import BaseModel

from methods.base import Method
from tasks.base import Recipe, Task, sealed_test_split, size_of

FINISH = "finish"
"""The phase of its rows."""


class Counted:
    """Training batches, and how many images were taken of them.

    Args:
        batches: of an epoch.
    """

    def __init__(self, batches: Iterator[dict[str, Any]]) -> None:
        self._batches = batches
        self.batches = self.images = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._batches:
            self.batches += 1
            self.images += size_of(batch["inputs"])
            yield batch


def finish(task: Task, method: Method, model: BaseModel, recipe: Recipe, seed: int) -> Counted:
    """Call the method's ``finish``; the model is left in evaluation mode.

    Draws inside depend on the run's seed alone.

    Returns:
        What it took of the training batches.
    """
    device = next(model.parameters()).device
    batches = Counted(task.batches(recipe.batch_size, seed, device).epoch(0))
    model.eval()
    devices = [device] if device.type == "cuda" else []
    sealed = sealed_test_split("the method, in finish")
    with torch.no_grad(), torch.random.fork_rng(devices), sealed:
        torch.manual_seed(seed)
        method.finish(model, batches)
    model.eval()
    return batches
