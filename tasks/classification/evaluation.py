"""Predictions of a model over a split, leaving the model as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards every module has the mode it had, frozen ones too."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def predict(model: nn.Module, batches: Iterable[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    """Logits (N, classes) in float32 and labels (N,) of all batches, on the model's device."""
    logits, labels = [], []
    with eval_mode(model), torch.inference_mode():
        for batch in batches:
            logits.append(model(batch["inputs"], mode="tensor").float())
            labels.append(batch["data_samples"])
    return torch.cat(logits), torch.cat(labels)
