"""What is done to networks everywhere: evaluation mode for a while, a copy of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module has the mode it had, frozen ones too."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def copy_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of a model's state on the host, so that it takes none of the device's memory."""
    return {k: v.detach().to("cpu", copy=True) for k, v in model.state_dict().items()}
