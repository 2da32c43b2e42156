"""SuperWeight networks: ensembles under a parameter budget on CIFAR (tables 1 to 5)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from benchmarks.papers.cautions import NOT_RUN
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
    sgd,
    steps_at,
)

if TYPE_CHECKING:
    from torch import nn


class SuperWeightNetworks(Paper):
    """Teterwak et al., SuperWeight networks."""

    def route(self, claim: Claim, setting: Setting) -> Trained | Excluded:
        """The ensemble that a claim is of; the paper's baselines are quoted ones."""
        if claim.method != "superweight":
            return Excluded(NOT_RUN, QUOTED)
        if claim.arch != "wrn28_10":
            return Excluded(
                NOT_RUN, f"the paper does not say how many parameters {claim.arch} shared"
            )
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
        departures = {MADE_HERE: corrupted, FEWER_BINS: "bins" in options}
        return Trained(
            spec, measure, tuple(text for text, holds in departures.items() if holds), REMARKS
        )

    def quantity(self, claim: Claim) -> Quantity | None:
        """The figure of a claim in its unit; None for what the project cannot count."""
        from benchmarks.papers.counts import stored_parameters

        if claim.arch != "wrn28_10" or claim.metric != "params":
            return None
        if claim.method == "end_to_end":
            return stored_parameters(member("wrn_28_10")) / 1e6
        if claim.method == "deep_ensemble":
            one = stored_parameters(member("wrn_28_10")).values[PLAIN]
            doubt = f"4 times {one / 1e6:.3f} M; the printed figure is 4 times the rounded 36.5 M"
            return Quantity({PLAIN: 4 * one / 1e6}, doubt=doubt)
        budget = re.search(r"([\d.]+)M", claim.variant)
        if claim.method != "superweight" or budget is None:
            return None
        archs = HETEROGENEOUS if "-HE" in claim.variant else HOMOGENEOUS
        return ensemble(archs, round(float(budget[1]) * 1e6)) / 1e6


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


TEMPLATES = "templates"
"""The paper's counting: norms, classifiers and coefficients lie outside the budget."""

HOMOGENEOUS = ("wrn_28_10",) * 4
BINS = 4
MOST_IN_BINS = 69_836_800
"""Elements of the homogeneous ensemble's banks in 4 bins, 8 templates a block: there is no more."""


@cache
def member(arch: str) -> nn.Module:
    """A member for CIFAR-100."""
    from benchmarks.papers.counts import network

    return network(arch, classes=100, channels=3, size=32)


def ensemble(archs: tuple[str, ...], budget: int) -> Quantity:
    """Parameters of an ensemble on banks: the templates, and everything that is stored."""
    from benchmarks.papers.counts import stored_parameters
    from methods.superweight.banks import depth_bins, per_layer, plan_banks
    from methods.superweight.ensemble import convolutions, weight_shapes

    members = [member(arch) for arch in archs]
    shapes = weight_shapes(members)
    bins = budget <= MOST_IN_BINS
    plan = plan_banks(shapes, depth_bins(shapes, BINS) if bins else per_layer(shapes), budget)
    blocks = [block for bank in plan for block in bank]
    templates = sum(block.parameters for block in blocks)
    coefficients = sum(len(block.users) * block.templates for block in blocks)
    shared = sum(conv.weight.numel() for m in members for conv in convolutions(m))
    private = sum(stored_parameters(m).values[PLAIN] for m in members) - shared
    return Quantity(
        {PLAIN: templates + coefficients + private, TEMPLATES: templates},
        own=TEMPLATES,
        remark="" if bins else f"a cluster a layer; {BINS} bins cannot use more than 69.84 M",
    )


paper = SuperWeightNetworks("swn")
