"""What MIND executed on the test set, and how that goes with the difficulty of an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import nan
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor

from methods.mind.controller import Controller, Outcome, Pass

TERCILES = ("easy", "medium", "hard")


@torch.inference_mode()
def analyse(model: BaseModel, batches: Iterable[dict[str, Any]]) -> dict[str, float]:
    """What was iterated on the test set, in all and by difficulty.

    Difficulty is the entropy of the prediction; its terciles are ``@easy``, ``@medium`` and
    ``@hard``, and exist where the model predicts one class an image. The harness measures the
    executed multiply-adds; here they are worked out from the choices, for the terciles alone.

    Returns:
        ``selection_rate``, the chosen blocks in % of those that could be; ``iterations``, the mean
        steps of a chosen block, and ``non_converged``, the chosen blocks in % that ended before
        they stood still (both absent when nothing was chosen); by difficulty also ``top1`` in %
        and ``macs_of_choices``, the mean multiply-adds that follow from the choices. Means over
        the windows of a segmentor that looks at an image through a sliding one. Terciles are NaN
        where a logit is NaN or infinite, which has no entropy.
    """
    passes, predictions = [], []
    for batch, done, out in executed(model, batches):
        passes.append(done)
        if isinstance(out, Tensor) and out.dim() == 2:
            predictions.append((out.float(), batch["data_samples"].to(out.device)))
    done = together(passes)
    found = work(done)
    if predictions and len(done.macs) >= len(TERCILES):
        logits, labels = (torch.cat(part) for part in zip(*predictions, strict=True))
        finite = bool(logits.isfinite().all())
        right = (logits.argmax(1) == labels).double().cpu()
        for tercile, rows in zip(TERCILES, terciles(logits), strict=True):
            part = Pass(Outcome(*(each[rows] for each in done.outcome)), done.macs[rows])
            values = {
                "top1": 100 * float(right[rows].mean()),
                "macs_of_choices": float(part.macs.mean()),
                **work(part),
            }
            for metric, value in values.items():
                found[f"{metric}@{tercile}"] = value if finite else nan
    return found


def executed(
    model: BaseModel, batches: Iterable[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], Pass, Any]]:
    """Each batch with what the backbone's passes over it executed, windows summed, and the output.

    Outcomes of several windows follow each other.
    """
    controller: Controller = model.mind
    for batch in batches:
        with controller.watched() as passes:
            out = model.test_step(batch)
        macs = torch.stack([each.macs for each in passes]).sum(0)
        outcomes = [each.outcome for each in passes]
        yield batch, Pass(Outcome(*map(torch.cat, zip(*outcomes, strict=True))), macs), out


def together(passes: Sequence[Pass]) -> Pass:
    """Passes over several batches as one."""
    outcomes = zip(*(each.outcome for each in passes), strict=True)
    return Pass(Outcome(*map(torch.cat, outcomes)), torch.cat([each.macs for each in passes]))


def work(done: Pass) -> dict[str, float]:
    """How often and how long blocks were iterated, on average over some images."""
    chosen, iterations, converged = done.outcome
    count = int(chosen.sum())
    found = {"selection_rate": 100 * float(chosen.double().mean())}
    if count:
        found["iterations"] = float(iterations[chosen].double().mean())
        found["non_converged"] = 100 * int((chosen & ~converged).sum()) / count
    return found


def terciles(logits: Tensor) -> list[Tensor]:
    """Indices of the images in three equal parts by rising entropy, from logits (N, classes)."""
    log_probabilities = logits.double().log_softmax(1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(1)
    return list(entropy.cpu().argsort(stable=True).tensor_split(3))
