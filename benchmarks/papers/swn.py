"""SuperWeight networks: ensembles under a parameter budget on CIFAR (tables 1 to 5)."""

from __future__ import annotations

import re
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
    sgd,
    steps_at,
)

EPOCHS = 200
SEARCH_EPOCHS = 20
"""Of the cluster search, before the 200 of the training."""
MEMBERS = 4
HETEROGENEOUS = ("wrn_34_8", "wrn_28_12", "wrn_28_10", "wrn_28_8")
SMALL = ("wrn_16_2", "wrn_10_4", "wrn_10_3", "wrn_10_2")
"""What stands for them in a smoke run."""
SMALL_BUDGET = 1_200_000
"""One template a block takes 0.95 M."""
PER_LAYER_FROM = 69.84
"""Millions of parameters that four bins can use at most; more take a cluster a layer."""
THREE_BINS_UP_TO = {False: 7.0, True: 15.0}
"""Millions at which four bins no longer hold one template a block: homogeneous, heterogeneous."""
DEFAULT_BUDGET = 36.5
"""Millions: tables 1 and 2 name none where they mean the networks of table 5 (a)."""
HELD_OUT = 100
REMARKS = (
    "templates are drawn so that layers have Kaiming's variance; those of the official code are up "
    "to 14.9 times as large, layer by layer",
    f"{HELD_OUT} of the 50,000 training images validate instead",
    "batch norms see 128 images, the paper's homogeneous ensembles 64 on each of two devices",
)
MADE_HERE = (
    "the corrupted images are made here, not read from CIFAR-10-C or CIFAR-100-C: some of the 19 "
    "kinds are approximations"
)
IN_PAPER_ALONE = (
    "corrupted images are tested under the profile paper alone: they are 95 times the test set"
)
FEWER_BINS = (
    "the clusters start from 3 depth bins and the paper's from 4, which do not fit into this "
    "budget here"
)
QUOTED = "the figure is taken from prior work, as the paper says of all its baselines"


def route(claim: Claim, setting: Setting) -> Trained | Excluded:
    """The ensemble that a claim is of; the paper's baselines are quoted ones."""
    if claim.method != "superweight":
        return Excluded(NOT_RUN, QUOTED)
    if claim.arch != "wrn28_10":
        return Excluded(NOT_RUN, f"the paper does not say how many parameters {claim.arch} shared")
    clean = claim.dataset.removesuffix("-C")
    if clean not in DATASETS:
        return Excluded(NOT_RUN, f"how to train on {claim.dataset} is not known here")
    corrupted = clean != claim.dataset
    heterogeneous = "HE" in claim.variant.split("-")[-1] or "heterogeneous" in claim.variant
    options = _options(claim, heterogeneous)
    spec = _spec(setting, DATASETS[clean], options, heterogeneous)
    measure: Measure | str = Measure(claim.metric, f"members={MEMBERS}")
    if corrupted:
        metric = f"{claim.metric}@corrupted"
        tested = setting.profile == PAPER
        measure = Measure(metric, f"members={MEMBERS}") if tested else IN_PAPER_ALONE
    told = {MADE_HERE: corrupted, FEWER_BINS: "bins" in options}
    return Trained(spec, measure, tuple(text for text, holds in told.items() if holds), REMARKS)


def _options(claim: Claim, heterogeneous: bool) -> dict[str, Any]:
    """Options of ``superweight``: homogeneous ensembles are not refined (section 1.1)."""
    found = re.search(r"([\d.]+)M", claim.variant)
    millions = float(found[1]) if found else DEFAULT_BUDGET
    options: dict[str, Any] = {
        "members": list(HETEROGENEOUS) if heterogeneous else MEMBERS,
        "max_params": round(millions * 1e6),
        "subsets": "full",
    }
    if heterogeneous or "gradient conflict" in claim.variant:
        options |= {"clusters": "search", "search_epochs": SEARCH_EPOCHS}
    elif millions > PER_LAYER_FROM:
        options |= {"clusters": "per_layer"}
    if millions <= THREE_BINS_UP_TO[heterogeneous]:
        options |= {"bins": 3}
    return options


def _spec(setting: Setting, dataset: str, options: dict[str, Any], heterogeneous: bool) -> Any:
    task: dict[str, Any] = {
        "dataset": dataset,
        "arch": "wrn_28_10",
        "val_size": HELD_OUT,
        "corruptions": True,
    }
    if heterogeneous:
        task["augment"] = {"cutout": 16}
    last = 160 if heterogeneous else 180
    recipe: Mapping[str, Any] = {
        "batch_size": 128,
        "optimizer": sgd(0.1, 5e-4, nesterov=True),
        "schedule": steps_at(0.2, 60 / EPOCHS, 120 / EPOCHS, last / EPOCHS),
    }
    searched = SEARCH_EPOCHS if "search_epochs" in options else 0
    budget: dict[str, float] = {"epochs": EPOCHS + searched}
    if setting.profile == SMOKE:
        task = {"dataset": STAND_IN, "arch": SMALL[-1]}
        options = {**options, "max_params": "baseline"}
        if heterogeneous:
            options |= {"members": list(SMALL), "max_params": SMALL_BUDGET}
        recipe, budget = {}, {"samples": 2_560}
    elif setting.profile != PAPER:
        del task["corruptions"]
        budget = {"samples": 150_000 if setting.gpu else 1_280}
    if setting.profile != PAPER and searched:
        options = {**options, "search_epochs": None, "search_share": searched / EPOCHS}
    return run_spec("swn", setting, task, "superweight", options, budget, recipe)
