"""Adaptive depth networks: parameters and operations of the sub-networks."""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import cache

from torch import nn

from benchmarks.papers.claims import Claim
from benchmarks.papers.counts import network, operations, stored_parameters
from benchmarks.papers.quantity import PLAIN, Quantity, reduction
from methods.adaptive_depth import export, make_skippable
from methods.adaptive_depth.split import split_stages
from methods.adaptive_depth.subnets import parse_flags
from methods.blocks import block_view

COUNTING = {
    "resnet50": "fvcore",
    "mobilenet_v2": "fvcore",
    "vit_b_16": "unfused_attention",
    "swin_t": PLAIN,
}
"""The paper's counting of each network."""

TABLE_2 = {
    "ResNet50-ADN (base)": ("resnet50", "base"),
    "MV2-ADN (base)": ("mobilenet_v2", "base"),
    "Swin-T-ADN (base)": ("swin_t", "base"),
}
"""What the table's own names stand for."""

DETECTORS = "benchmarks.papers.adn_detector_counts"

PTFLOPS = "ptflops prints 0.32 G for MobileNetV2: it adds norms and activations to the products"
SWIN_BASE = (
    "counted with 1, 1, 3, 2 blocks a stage (swin_last_mandatory); 1, 1, 3, 1 hold 15.31 M and "
    "take 2.340 G"
)


def quantity(claim: Claim) -> Quantity | None:
    """The figure of a claim in its unit; None for what the project cannot count."""
    arch, variant = TABLE_2.get(claim.arch, (claim.arch, claim.variant))
    ours = claim.arch in TABLE_2 or claim.method in ("adaptive_depth", "end_to_end")
    name = {"full": "super", "base against super": "base"}.get(variant, variant)
    if claim.task == "detection" and ours and claim.metric == "gmacs":
        return _detector(arch, name)
    if claim.task != "classification" or not ours or arch not in COUNTING:
        return None
    if claim.metric == "gmacs_reduction":
        return reduction(macs(arch, name), macs(arch, "super"))
    if claim.metric == "gmacs":
        return macs(arch, name) / 1e9
    if claim.method == "adaptive_depth":
        return stored_parameters(skippable(arch)) / 1e6  # of all sub-networks together
    return _remarked(arch, name, stored_parameters(subnetwork(arch, name))) / 1e6


@cache
def skippable(arch: str, swin_last_mandatory: bool = False) -> nn.Module:
    """The network with skippable blocks and doubled norms."""
    backbone = network(arch, classes=1000, channels=3, size=224)
    view = block_view(backbone)
    make_skippable(view, split_stages(view, swin_last_mandatory))
    return backbone


def subnetwork(arch: str, name: str) -> nn.Module:
    """One sub-network as a plain network."""
    prepared = skippable(arch, swin_last_mandatory=(arch, name) == ("swin_t", "base"))
    return export(prepared, parse_flags(name, len(prepared.switch.skip)))


@cache
def macs(arch: str, name: str) -> Quantity:
    """Multiply-adds of one sub-network for an image of 224x224 pixels."""
    count = operations(subnetwork(arch, name), channels=3, size=224, own=COUNTING[arch])
    return _remarked(arch, name, count)


def _detector(arch: str, name: str) -> Quantity | None:
    # Imported here: mmdet takes seconds, which the other claims need not wait for.
    found: Quantity | None = importlib.import_module(DETECTORS).macs(arch, name)
    return found and found / 1e9


def _remarked(arch: str, name: str, count: Quantity) -> Quantity:
    if arch == "mobilenet_v2":
        return replace(count, doubt=PTFLOPS)
    return replace(count, remark=SWIN_BASE) if (arch, name) == ("swin_t", "base") else count
