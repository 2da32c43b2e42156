"""Shapes and small ensembles that the SuperWeight tests share."""

from __future__ import annotations

from typing import Any

import torch

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
