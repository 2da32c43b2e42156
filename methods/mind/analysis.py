"""What MIND executed on the test set, and how that goes with the difficulty of an image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor

from methods.mind.controller import Controller, Outcome

TERCILES = ("easy", "medium", "hard")


@torch.inference_mode()
def analyse(model: BaseModel, batches: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Mean executed work over the test set, in all and by difficulty.

    Difficulty is the entropy of the prediction; its terciles are ``@easy``, ``@medium`` and
    ``@hard``, and exist where the model predicts one class an image.

    Returns:
        ``macs_executed`` in multiply-adds for one image, both passes and the introspection network
        included, with ``@p10`` and ``@p90`` for its distribution; ``selection_rate``, the chosen
        blocks in % of those that could be; ``iterations``, the mean steps of a chosen block, and
        ``non_converged``, the chosen blocks in % that ended before they stood still (both absent
        when nothing was chosen); ``top1`` in % by difficulty.
    """
    controller: Controller = model.mind
    outcomes, predictions = [], []
    images = 0
    for batch in batches:
        out = model.test_step(batch)
        images += len(out)
        if controller.last is not None:
            outcomes.append(controller.last)
        if isinstance(out, Tensor) and out.dim() == 2:
            predictions.append((out.float(), batch["data_samples"].to(out.device)))
    done = _join(outcomes, images, len(controller.wrapped))
    found = work(controller, done)
    found |= {
        f"macs_executed@p{share}": float(executed_macs(controller, done).quantile(share / 100))
        for share in (10, 90)
    }
    if predictions and images >= len(TERCILES):
        logits, labels = (torch.cat(part) for part in zip(*predictions, strict=True))
        right = (logits.argmax(1) == labels).double().cpu()
        for name, rows in zip(TERCILES, terciles(logits), strict=True):
            found[f"top1@{name}"] = 100 * float(right[rows].mean())
            part = Outcome(*(tensor[rows] for tensor in done))
            found |= {f"{metric}@{name}": value for metric, value in work(controller, part).items()}
    return found


def work(controller: Controller, done: Outcome) -> dict[str, float]:
    """The means over some images of what was executed."""
    chosen = int(done.chosen.sum())
    found = {
        "macs_executed": float(executed_macs(controller, done).mean()),
        "selection_rate": 100 * float(done.chosen.double().mean()),
    }
    if chosen:
        found["iterations"] = float(done.iterations[done.chosen].mean())
        found["non_converged"] = 100 * int((done.chosen & ~done.converged).sum()) / chosen
    return found


def executed_macs(controller: Controller, done: Outcome) -> Tensor:
    """Multiply-adds of each image (N,), float64."""
    if controller.macs is None:
        raise ValueError("the model has not seen an image yet")
    plain, blocks = controller.macs
    introspection = controller.introspection
    fixed = plain if introspection is None else 2 * plain + introspection.macs
    extra = (done.iterations - 1) @ torch.tensor(blocks, dtype=torch.float64)
    return fixed + extra


def terciles(logits: Tensor) -> list[Tensor]:
    """Indices of the images in three equal parts by rising entropy, from logits (N, classes)."""
    log_probabilities = logits.double().log_softmax(1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(1)
    return list(entropy.cpu().argsort(stable=True).tensor_split(3))


def _join(outcomes: list[Outcome], images: int, layers: int) -> Outcome:
    if not outcomes:  # no block was ever to be iterated
        shape = (images, layers)
        nothing = torch.zeros(shape, dtype=torch.bool)
        return Outcome(nothing, torch.ones(shape, dtype=torch.float64), nothing)
    chosen, iterations, converged = (torch.cat(part).cpu() for part in zip(*outcomes, strict=True))
    return Outcome(chosen, iterations.double(), converged)
