"""Sigmoid focal loss and its gradient in plain torch, as `mmcv._ext` has them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .precision import computable


@torch.no_grad()
def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Focal loss of every logit (Lin et al., 2017, equation 5): -alpha_t (1 - p_t)^gamma log p_t.

    Args:
        input: (N, C) logits.
        target: (N,) class indices in [0, C]; C is background, a negative of every class.
        weight: (C,) factors per class of the target, which then is below C, or empty for none.
        output: (N, C), written in place.
        gamma: exponent of the modulating factor.
        alpha: factor of the positives; the negatives have 1 - alpha.
    """
    logits = computable(input)
    positive = F.one_hot(target, logits.shape[1] + 1)[:, :-1].bool()
    p, log_p, log_not_p = logits.sigmoid(), F.logsigmoid(logits), F.logsigmoid(-logits)
    loss = torch.where(
        positive, -alpha * (1 - p) ** gamma * log_p, -(1 - alpha) * p**gamma * log_not_p
    )
    output.copy_(loss * _of_target(weight, target, loss))


@torch.no_grad()
def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """The derivative of each loss by its logit, written into `grad_input`; arguments as above.

    With p = sigmoid(x), d log p / dx = 1 - p and dp / dx = p (1 - p), which gives
    -alpha (1 - p)^gamma (1 - p - gamma p log p) for a positive, and
    (1 - alpha) p^gamma (p - gamma (1 - p) log(1 - p)) for a negative.
    """
    logits = computable(input)
    positive = F.one_hot(target, logits.shape[1] + 1)[:, :-1].bool()
    p, log_p, log_not_p = logits.sigmoid(), F.logsigmoid(logits), F.logsigmoid(-logits)
    grad = torch.where(
        positive,
        -alpha * (1 - p) ** gamma * (1 - p - gamma * p * log_p),
        (1 - alpha) * p**gamma * (p - gamma * (1 - p) * log_not_p),
    )
    grad_input.copy_(grad * _of_target(weight, target, grad))


def _of_target(weight: Tensor, target: Tensor, like: Tensor) -> Tensor:
    if weight.numel() == 0:
        return like.new_ones(())
    return weight.to(like.dtype)[target, None]
