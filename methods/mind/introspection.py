"""The introspection network: which blocks to iterate, for each image, and what that costs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Introspection(nn.Module):
    """An MLP of 512 and 128 units from pooled activations to a choice of layers.

    Args:
        features: width of the concatenated pooled activations.
        layers: wrapped blocks L to choose from.
        selection: ``gumbel`` decides about each layer by itself; ``nested`` chooses one of the
            L + 1 sets that hold the first 0, 1, ..., L layers.
        temperature: of the relaxation in training.
    """

    def __init__(self, features: int, layers: int, selection: str, temperature: float) -> None:
        super().__init__()
        choices = layers + (selection == "nested")
        self.mlp = nn.Sequential(
            nn.Linear(features, 512),
            nn.ReLU(),
            nn.Linear(512, 128),
            nn.ReLU(),
            nn.Linear(128, choices),
        )
        self.selection = selection
        self.temperature = temperature

    def forward(self, features: Tensor) -> Tensor:
        """The mask (N, L) of zeros and ones from features (N, C).

        Drawn in training, with the gradient of the relaxed choice (straight-through); the
        likelier choice in evaluation.
        """
        logits = self.mlp(features).float()  # float16 cannot hold the noise
        choose = nested_choice if self.selection == "nested" else gumbel_sigmoid
        return choose(logits, self.temperature, self.training)

    @property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return sum(m.weight.numel() for m in self.mlp if isinstance(m, nn.Linear))


def gumbel_sigmoid(logits: Tensor, temperature: float, draw: bool) -> Tensor:
    """Straight-through choice of each layer: logits (N, L) to a mask (N, L).

    Jang et al. 2017, "Categorical Reparameterization with Gumbel-Softmax", for two categories.
    """
    if draw:
        uniform = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
        logits = logits + uniform.log() - (-uniform).log1p()
    soft = (logits / temperature).sigmoid()
    hard = (logits > 0).to(soft.dtype)
    return hard + (soft - soft.detach())


def nested_choice(logits: Tensor, temperature: float, draw: bool) -> Tensor:
    """Straight-through choice of one nested set: logits (N, L + 1) to a mask (N, L)."""
    if draw:
        choice = F.gumbel_softmax(logits, temperature, hard=True)
    else:
        choice = F.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype)
    # The chosen set holds layer l when its number is above l.
    return choice.flip(1).cumsum(1).flip(1)[:, 1:]


def introspection_loss(
    mask: Tensor,
    iterations: Tensor,
    costs: Tensor,
    weights: Tensor,
    beta: float,
    gamma: float,
    delta: float,
) -> Tensor:
    """``mean(beta * cost + gamma * sum_l w_l m_l + delta * sum_l m_l)`` over the images.

    ``cost = sum_l m_l K_l c_l / sum_l c_l``. Only the mask carries gradient.

    Args:
        mask: m (N, L).
        iterations: K (N, L), steps of each layer.
        costs: c (L,), multiply-adds of one step.
        weights: w (L,).
        beta: weight of the executed cost.
        gamma: weight of the weighted choice.
        delta: weight of the number of chosen layers.
    """
    share = costs / costs.sum()
    cost = (mask * iterations * share).sum(1)
    return (beta * cost + gamma * (mask * weights).sum(1) + delta * mask.sum(1)).mean()
