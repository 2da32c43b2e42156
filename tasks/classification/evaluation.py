"""Predictions of a model over a split, leaving the model as it was."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tasks.modules import eval_mode


def predict(model: nn.Module, batches: Iterable[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    """Logits (N, classes) in float32 and labels (N,) of all batches, on the model's device."""
    logits, labels = [], []
    with eval_mode(model), torch.inference_mode():
        for batch in batches:
            logits.append(model(batch["inputs"], mode="tensor").float())
            labels.append(batch["data_samples"])
    return torch.cat(logits), torch.cat(labels)
