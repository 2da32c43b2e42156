"""What MIND executed on the test set, and how that goes with the difficulty of an image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor

from methods.dense import is_dense
from methods.mind.controller import Controller, Outcome, Pass

TERCILES = ("easy", "medium", "hard")


@torch.inference_mode()
def analyse(model: BaseModel, batches: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Mean executed work over the test set, in all and by difficulty.

    Difficulty is the entropy of the prediction; its terciles are ``@easy``, ``@medium`` and
    ``@hard``, and exist where the model predicts one class an image.

    Returns:
        ``macs_executed`` in multiply-adds for one image, both passes and the introspection network
        included, with ``@p10`` and ``@p90`` for its distribution (of a detector or segmentor
        ``macs_executed_backbone``, since nothing else is counted); ``selection_rate``, the chosen
        blocks in % of those that could be; ``iterations``, the mean steps of a chosen block, and
        ``non_converged``, the chosen blocks in % that ended before they stood still (both absent
        when nothing was chosen); ``top1`` in % by difficulty. Of a segmentor that looks at an
        image through a sliding window, work is the sum over windows and the others are means over
        them.
    """
    controller: Controller = model.mind
    name = "macs_executed_backbone" if is_dense(model) else "macs_executed"
    outcomes, macs, predictions = [], [], []
    for batch in batches:
        with controller.watched() as passes:
            out = model.test_step(batch)
        outcomes += [each.outcome for each in passes]
        macs.append(torch.stack([each.macs for each in passes]).sum(0))
        if isinstance(out, Tensor) and out.dim() == 2:
            predictions.append((out.float(), batch["data_samples"].to(out.device)))
    done = Pass(Outcome(*map(torch.cat, zip(*outcomes, strict=True))), torch.cat(macs))
    found = work(done, name)
    for share in (10, 90):
        found[f"{name}@p{share}"] = float(done.macs.quantile(share / 100))
    if predictions and len(done.macs) >= len(TERCILES):
        logits, labels = (torch.cat(part) for part in zip(*predictions, strict=True))
        right = (logits.argmax(1) == labels).double().cpu()
        for tercile, rows in zip(TERCILES, terciles(logits), strict=True):
            found[f"top1@{tercile}"] = 100 * float(right[rows].mean())
            part = Pass(Outcome(*(each[rows] for each in done.outcome)), done.macs[rows])
            found |= {f"{metric}@{tercile}": value for metric, value in work(part, name).items()}
    return found


def work(done: Pass, name: str) -> dict[str, float]:
    """The means over some images of what was executed; ``name`` is that of the multiply-adds."""
    chosen, iterations, converged = done.outcome
    count = int(chosen.sum())
    found = {
        name: float(done.macs.mean()),
        "selection_rate": 100 * float(chosen.double().mean()),
    }
    if count:
        found["iterations"] = float(iterations[chosen].double().mean())
        found["non_converged"] = 100 * int((chosen & ~converged).sum()) / count
    return found


def terciles(logits: Tensor) -> list[Tensor]:
    """Indices of the images in three equal parts by rising entropy, from logits (N, classes)."""
    log_probabilities = logits.double().log_softmax(1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(1)
    return list(entropy.cpu().argsort(stable=True).tensor_split(3))
