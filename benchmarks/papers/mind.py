"""MIND: its small network on the data sets that the project has.

The paper's tables contradict each other, and the network that it describes does not hold the
parameters that it prints: its figures are a ledger, and no run of this project can confirm or
refute them. What is measured stands beside them all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.papers.cautions import NOT_RUN
from benchmarks.papers.claims import Claim
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


def route(claim: Claim, setting: Setting) -> Trained | Excluded:
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
