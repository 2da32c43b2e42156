"""Names of the data sets and networks, listed without importing torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tasks.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from tasks.classification.datasets.base import DataSet

DATASETS: Registry[type[DataSet]] = Registry("data set", "DATASETS", "tasks.classification")
"""Classes called with ``data_root`` and the options of the suite file."""

MODELS: Registry[Callable[..., nn.Module]] = Registry("network", "MODELS", "tasks.classification")
"""Functions called with ``num_classes``, ``in_channels``, ``image_size`` and options."""
