"""Short trainings for the tests that ask whether something learns.

At a constant rate, the accuracy after a few epochs hangs on the last batches and on how the
processor rounds. With a rate that decays to zero the accuracy saturates, and a limit far below
what every seed reaches holds on any processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from sklearn.datasets import load_digits
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from methods.base import Method

Batch = dict[str, Any]


def train(
    method: Method,
    model: BaseModel,
    wrapper: OptimWrapper,
    batches: Callable[[int], Iterable[Batch]],
    epochs: int,
) -> list[float]:
    """Train with a learning rate that decays to zero along a cosine, step by step.

    Args:
        method: takes the steps.
        model: what it prepared; left in training mode.
        wrapper: its optimizer, at the highest rate.
        batches: those of an epoch, by its number from 0; as many in each epoch.
        epochs: of the whole training.

    Returns:
        The mean loss of each epoch.
    """
    model.train()
    history, schedule = [], None
    for epoch in range(epochs):
        data = list(batches(epoch))
        schedule = schedule or CosineAnnealingLR(wrapper.optimizer, epochs * len(data))
        losses = []
        for batch in data:
            losses.append(method.train_step(model, batch, wrapper)["loss"].item())
            schedule.step()
        history.append(sum(losses) / len(losses))
    return history


class Digits:
    """scikit-learn's 1,797 handwritten digits: the first to train with, the others held out.

    Attributes:
        images: for training (N, 1, 8, 8), from 0 to 1.
        labels: theirs (N,).
        held_out: the other images.
    """

    def __init__(self, train: int = 1400) -> None:
        pixels, labels = load_digits(return_X_y=True)
        images = torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 1, 8, 8)
        self.images, self.held_out = images[:train], images[train:]
        self.labels, self._held_out_labels = torch.tensor(labels).tensor_split([train])

    def batches(self, size: int) -> list[Batch]:
        """An epoch in an order drawn from torch's generator."""
        rows = torch.randperm(len(self.images)).split(size)
        return [{"inputs": self.images[r], "data_samples": self.labels[r]} for r in rows]

    def accuracy(self, network: BaseModel) -> float:
        """The share of held-out images that a network in evaluation mode gets right."""
        return (self.predicted(network) == self._held_out_labels).float().mean().item()

    def predicted(self, network: BaseModel) -> Tensor:
        """The class of each held-out image."""
        with torch.no_grad():
            return network.eval()(self.held_out).argmax(1)
