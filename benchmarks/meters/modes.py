"""Running a model for costing without leaving a trace on it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from tasks.modules import eval_mode


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode is restored at the end."""
    with eval_mode(model), torch.no_grad():
        yield


def forward(model: nn.Module, inputs: torch.Tensor) -> object:
    """The network's own output for a batch: ``mode="tensor"`` where the model takes a mode."""
    wrapped = getattr(model, "_orig_mod", getattr(model, "module", model))
    if "mode" in inspect.signature(wrapped.forward).parameters:
        return model(inputs, mode="tensor")
    return model(inputs)


def synchronize(device: torch.device) -> None:
    """Wait for the device's queue; the CPU has none."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
