"""What the kit trains: small networks, few epochs, and the options that a method cannot do without.

A method outside this repository needs no entry: its options come with ``--option`` or with the
arguments of :func:`benchmarks.conformance.plugin.conforms`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DATASET = "digits"
BATCH_SIZE = 64
SEED = 0
ARCHS: tuple[str | Mapping[str, Any], ...] = (
    "cifar_resnet8",
    {"name": "cifar_resnet14", "width": 8},
    {"name": "cifar_resnet26", "width": 8},
)
"""Tried in this order until the method's ``prepare`` accepts one."""


@dataclass(frozen=True)
class Setting:
    """How one method is tried: its options, and epochs of some 20 batches."""

    options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 3


SETTINGS: Mapping[str, Setting] = {
    # Depth 1 hardly learns and converges at once, so that there is a search and a by-product.
    "optimal_depth": Setting(
        {
            "target_accuracy": 99.9,
            "warmup_epochs": 1,
            "warmup_lr": 0.05,
            "lr_first": 1e-6,
            "lr_later": 0.05,
            "patience": 1,
            "max_depth": 2,
        },
        epochs=6,
    ),
    "superweight": Setting({"members": 2}),
}
"""Settings of the built-in methods that the defaults do not suit."""


def setting_of(name: str) -> Setting:
    """The setting of a method; the defaults where the table has none."""
    return SETTINGS.get(name, Setting())
