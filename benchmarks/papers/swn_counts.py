"""SuperWeight networks: parameters of template banks and of plain ensembles, 100 classes."""

from __future__ import annotations

import re
from functools import cache

from torch import nn

from benchmarks.papers.claims import Claim
from benchmarks.papers.counts import network, stored_parameters
from benchmarks.papers.quantity import PLAIN, Quantity
from methods.superweight.banks import depth_bins, per_layer, plan_banks
from methods.superweight.ensemble import convolutions, weight_shapes

TEMPLATES = "templates"
"""The paper's counting: norms, classifiers and coefficients lie outside the budget."""

HOMOGENEOUS = ("wrn_28_10",) * 4
HETEROGENEOUS = ("wrn_34_8", "wrn_28_12", "wrn_28_10", "wrn_28_8")
BINS = 4
PER_LAYER_FROM = 69_836_800
"""Elements of the homogeneous ensemble's banks in 4 bins, 8 templates a block: there is no more."""


def quantity(claim: Claim) -> Quantity | None:
    """The figure of a claim in its unit; None for what the project cannot count."""
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


@cache
def member(arch: str) -> nn.Module:
    """A member for CIFAR-100."""
    return network(arch, classes=100, channels=3, size=32)


def ensemble(archs: tuple[str, ...], budget: int) -> Quantity:
    """Parameters of an ensemble on banks: the templates, and everything that is stored."""
    members = [member(arch) for arch in archs]
    shapes = weight_shapes(members)
    bins = budget <= PER_LAYER_FROM
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
