"""MIND: its small network on the data sets that the project has.

The paper's tables contradict each other, and the network that it describes does not hold the
parameters that it prints: its figures are a ledger, and no run of this project can confirm or
refute them. What is measured stands beside them all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from benchmarks.papers.cautions import INCONSISTENT, NOT_COMPARABLE, NOT_RUN, Caution, Where
from benchmarks.papers.claims import Claim
from benchmarks.papers.paper import Paper
from benchmarks.papers.quantity import PLAIN, Quantity
from benchmarks.papers.routes import (
    DATASETS,
    PAPER,
    SMOKE,
    STAND_IN,
    Excluded,
    Measure,
    Setting,
    Trained,
    run_spec,
    steps_at,
)

_MIND: Where = {"arch": ("mind-cnn", "MIND")}
_MIND_TOP1: Where = {**_MIND, "dataset": "CIFAR-100", "metric": "top1"}

_DIFFERENT_TOP1 = (
    "the paper prints 85.53 (tables 2, 8), 85.7 (table 6), 88.0 (table 11) and 91.3 (table 14) "
    "for the same network on CIFAR-100"
)
CAUTIONS = (
    Caution(
        INCONSISTENT,
        {**_MIND, "metric": "params"},
        "100 and 1,000 classes cannot both take 5.31 M, for the classifiers differ by 0.23 M; nor "
        "does the stated network hold it (computed with one block a stage, for the paper does not "
        "say how many; 2 give 3.50 M and 3 give 5.05 M at 100 classes)",
    ),
    Caution(
        INCONSISTENT,
        {
            **{"table": "2", "dataset": "CIFAR-100", "metric": "params"},
            "arch": ("resnet50", "efficientnet_b7"),
        },
        "the count of the 1,000-class network is printed for 100 classes, too",
    ),
    Caution(INCONSISTENT, {**_MIND_TOP1, "table": ("2", "6", "8")}, _DIFFERENT_TOP1),
    Caution(
        INCONSISTENT, {**_MIND_TOP1, "table": ("11", "14"), "variant": "full"}, _DIFFERENT_TOP1
    ),
    Caution(INCONSISTENT, {**_MIND_TOP1, "table": "14"}),
    Caution(
        INCONSISTENT,
        {**_MIND, "table": ("11", "14"), "variant": "full", "metric": "gflops"},
        "the paper prints 1.05 (table 11) and 1.2 GFLOPs (table 14) for the same network",
    ),
    Caution(
        NOT_RUN,
        {**_MIND, "metric": "gflops"},
        "needs training: how much is executed depends on what the trained network selects",
    ),
    Caution(
        NOT_RUN,
        {"arch": ("cnn-4", "cnn-9", "cnn-16"), "metric": "gflops"},
        "the paper does not say how the layers of this network are laid out",
    ),
    Caution(
        NOT_COMPARABLE,
        {"arch": ("cnn-4", "cnn-9", "cnn-16"), "metric": "layers"},
        "it describes the network and is no measurement",
    ),
)


class MIND(Paper):
    """Mathur, Pearlmutter and Plis 2025, MIND over Body (ICLR)."""

    cautions = CAUTIONS

    def route(self, claim: Claim, setting: Setting) -> Trained | Excluded:
        """The training that a claim is of."""
        if claim.method != "mind":
            return Excluded(NOT_RUN, "neither the recipe nor the budget of this baseline is known")
        if claim.arch not in ARCHS:
            return Excluded(NOT_RUN, f"how to train {claim.arch} is not known here")
        if claim.dataset not in DATASETS:
            return Excluded(NOT_RUN, f"the data set {claim.dataset} is not in the project")
        if claim.variant not in ("", "full", *TERCILES):
            return Excluded(NOT_RUN, f"what the row '{claim.variant}' changes is not known here")
        changes = [NETWORK, HELD_OUT]
        if claim.variant in TERCILES:
            changes.append(OTHER_TERCILES)
        if claim.metric == "gflops":
            changes.append(OPERATIONS)
        spec = _spec(setting, DATASETS[claim.dataset])
        return Trained(spec, _measure(claim), tuple(changes))

    def quantity(self, claim: Claim) -> Quantity | None:
        """The figure of a claim in its unit; None for what the project cannot count."""
        if claim.metric != "params" or claim.arch not in COUNTED or claim.dataset not in CLASSES:
            return None
        classes = CLASSES[claim.dataset]
        arch = COUNTED[claim.arch]
        chooses = claim.method == "mind"
        imagenet = parameters(arch, 1000, chooses).values[PLAIN] / 1e6
        doubt = f"1,000 classes give {imagenet:.2f} M"
        return replace(parameters(arch, classes, chooses), doubt=doubt) / 1e6


ARCHS = ("mind-cnn", "MIND")
"""What the tables call the network."""
EPOCHS = 100
PATIENCE = 10
"""Epochs without a better validation that end training."""
WRAPPED = 3
"""Blocks of ``mind_cnn`` that can be iterated."""
TERCILES = {"simple inputs": "easy", "medium inputs": "medium", "complex inputs": "hard"}
"""Table 4's three kinds of images; here the terciles of the prediction's entropy."""

NETWORK = (
    "the paper's network is not known: the one that it describes does not hold the 5.31 M "
    "parameters that it prints"
)
OPERATIONS = (
    "multiply-adds are measured, and the paper does not say whether it counts one operation or two "
    "for each"
)
HELD_OUT = (
    "validation images are held out of the training images (10,000 of MNIST's 60,000), and the "
    "paper names no split"
)
OTHER_TERCILES = "the paper does not say how it divided images by difficulty"
RECIPE: Mapping[str, Any] = {
    "batch_size": 64,
    "optimizer": {"type": "Adam", "lr": 1e-3, "weight_decay": 5e-4},
    "schedule": steps_at(0.1, 0.3, 0.6, 0.9),
}


def _measure(claim: Claim) -> Measure | str:
    """The row of a claim, or why no run has one."""
    tercile = TERCILES.get(claim.variant)
    if tercile is None:
        if claim.metric == "latency":
            return Measure("latency@1", "full", "inference", 1e3)
        if claim.metric == "gflops":
            return Measure("macs_executed", "full", "inference", 1e-9)
        return Measure(claim.metric)
    if claim.metric == "top1":
        return Measure(f"top1@{tercile}")
    if claim.metric == "layers":  # selected ones, of those that could be
        return Measure(f"selection_rate@{tercile}", scale=WRAPPED / 100)
    if claim.metric == "fpi_iterations":
        return Measure(f"iterations@{tercile}")
    if claim.metric == "gflops":
        return Measure(f"macs_of_choices@{tercile}", scale=1e-9)
    return f"{claim.metric} is not measured by difficulty"


def _spec(setting: Setting, dataset: str) -> Any:
    task = {"dataset": dataset, "arch": "mind_cnn"}
    options: dict[str, Any] = {"preset": "paper", "early_stop": PATIENCE}
    recipe: Mapping[str, Any] = RECIPE
    budget: dict[str, float] = {"epochs": EPOCHS}
    if setting.profile == SMOKE:
        task, recipe = {**task, "dataset": STAND_IN}, {}
        options, budget = {"preset": "practical"}, {"samples": 2_560}
    elif setting.profile != PAPER:
        options = {"preset": "practical"}
        budget = {"samples": 500_000 if setting.gpu else 5_120}
    return run_spec("mind", setting, task, "mind", options, budget, recipe)


CLASSES = {"CIFAR-100": 100, "ImageNet-1k": 1000}
COUNTED = {"resnet50": "resnet50", "efficientnet_b7": "efficientnet_b7", "mind-cnn": "mind_cnn"}


@cache
def parameters(arch: str, classes: int, chooses: bool) -> Quantity:
    """All parameters of a network for so many classes.

    Args:
        arch: of the network.
        classes: of the classifier.
        chooses: whether the introspection network belongs to it.
    """
    from benchmarks.papers.counts import network, stored_parameters
    from methods.mind import Mind
    from tasks.classification.classifier import Classifier

    model = network(arch, classes, channels=3, size=224)
    if chooses:
        model = Mind().prepare(Classifier(model))
    return stored_parameters(model)


paper = MIND("mind")
