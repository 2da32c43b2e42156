"""Running a model for costing without leaving a trace on it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map_only

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


def is_input(given: object) -> bool:
    """Whether this is one input, a tensor or a tuple of them, and not several of them."""
    return isinstance(given, torch.Tensor | tuple)


def repeated(inputs: Any, size: int) -> Any:
    """An input of one image as a batch of ``size``, whatever it is made of."""
    return tree_map_only(torch.Tensor, lambda t: t.repeat(size, *[1] * (t.dim() - 1)), inputs)


def shapes(inputs: Any) -> tuple[torch.Size, ...]:
    """The shapes of an input's tensors, without the dimension of the batch."""
    return tuple(leaf.shape[1:] for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor))


def synchronize(device: torch.device) -> None:
    """Wait for the device's queue; the CPU has none."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
