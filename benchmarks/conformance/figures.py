"""What a method changes, in figures beside those of plain training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.conformance.subject import Run, Subject
from benchmarks.engine.spent_rows import run_rows
from benchmarks.meters.counter import UnknownOperation
from benchmarks.meters.operations import count_macs
from benchmarks.meters.parameters import parameters

PLAIN = "full"
"""The one deployable network of plain training."""
TRAINING = ("params", "params_trainable", "train_flops", "mem_activations")


@dataclass(frozen=True)
class Figure:
    """One metric of the method, or of one of its variants, beside plain training's.

    Units are those of ``benchmarks.records.row.METRICS``.
    """

    metric: str
    variant: str
    method: float | None
    end_to_end: float | None


def figures(subject: Subject) -> list[Figure]:
    """Costs of training, then cost and primary metric of each deployable network."""
    own, plain = subject.trained, subject.reference
    step, network = training(plain), deployed(plain)[PLAIN]
    found = [Figure(k, "", v, step[k]) for k, v in training(own).items()]
    headline, score = own.built.task.headline, plain.scores[PLAIN]
    try:
        costed = deployed(own)
    except UnknownOperation:  # the check of costs says so
        costed = {variant: {} for variant in own.variants()}
    for variant, values in costed.items():
        found += [Figure(k, variant, v, network[k]) for k, v in values.items()]
        found.append(Figure(headline, variant, own.scores[variant], score))
    return found


def training(run: Run) -> dict[str, float | None]:
    """Parameters, and what the steps of training cost."""
    measured = {m.metric: m.value for m in run_rows(run.meters, run.model)}
    return {metric: measured[metric] for metric in TRAINING}


def deployed(run: Run) -> dict[str, dict[str, float]]:
    """Parameters and multiply-adds by variant.

    Raises:
        UserError: a network uses an operation that no count is known for.
    """
    task, device = run.built.task, run.built.device
    return {
        name: {
            "params_inference": parameters(network).stored,
            "macs": count_macs(network, task.example_input(1, device), run=task.forward),
        }
        for name, network in run.variants().items()
    }


def differences(subject: Subject, found: list[Figure]) -> list[str]:
    """In words, all that is not as in plain training; the primary metric is no difference."""
    own, plain = subject.trained, subject.reference
    headline = own.built.task.headline
    changed = [
        f"{figure.metric} of '{figure.variant}'" if figure.variant else figure.metric
        for figure in found
        if figure.metric != headline and figure.method != figure.end_to_end
    ]
    if not same_weights(own.weights, plain.weights):
        changed.append("the trained weights")
    changed += [
        f"the outputs of '{name}'"
        for name, answer in own.answers.items()
        if not torch.equal(answer, plain.answers[PLAIN])
    ]
    return changed


def same_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two states hold the same names and the same bits."""
    return one.keys() == other.keys() and not differing(one, other)


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Names that only one state has, and those whose tensors are not equal bit by bit."""
    lonely = one.keys() ^ other.keys()
    return [*sorted(lonely), *(k for k in one if k in other and not torch.equal(one[k], other[k]))]
