"""Optimally deep networks: parameters, operations and disk size of truncated networks."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import nn

from benchmarks.papers.claims import Claim
from benchmarks.papers.counts import network, operations, state_dict_bytes, stored_parameters
from benchmarks.papers.quantity import PLAIN, Quantity, reduction
from methods.optimal_depth.network import DepthNetwork, depth_network
from tasks.classification.classifier import Classifier

IMAGES = {
    "MNIST": (10, 1, 28),
    "EMNIST-letters": (26, 1, 28),
    "Fashion-MNIST": (10, 1, 28),
    "SVHN": (10, 3, 32),
    "CIFAR-10": (10, 3, 32),
}
"""Classes, channels and side in pixels."""

FOUND = {"MNIST": 2, "EMNIST-letters": 3, "Fashion-MNIST": 6, "SVHN": 5, "CIFAR-10": 11}
"""The depth that the paper's search ended at (Table I)."""

COUNTING = "fvcore_train"

CONTAINER = 0.002
"""Share of a file by which what is pickled, and the file's own name, move its size."""
UNSTATED = (
    f"a state dict or a whole module, and the file's name, move the size by up to {CONTAINER:.1%}, "
    "and the paper does not say what it saved"
)


def quantity(claim: Claim) -> Quantity | None:
    """The figure of a claim in its unit; None for what the project cannot count."""
    if claim.dataset not in IMAGES or not claim.arch.endswith("-cifar"):
        return None
    arch = claim.arch.replace("-cifar", "_cifar_stem")
    if claim.metric == "disk_size_reduction":
        found = disk_size(arch, claim.dataset, FOUND[claim.dataset])
        return reduction(found, disk_size(arch, claim.dataset, None))
    depth = int(claim.variant.removeprefix("depth=").partition("/")[0])
    if claim.metric == "disk_size":
        return disk_size(arch, claim.dataset, depth) / 1e6
    model = truncated(arch, claim.dataset, depth)
    if claim.metric == "params":
        return stored_parameters(model) / 1e6
    _, channels, size = IMAGES[claim.dataset]
    return operations(model, channels, size, COUNTING) / 1e6


@cache
def whole(arch: str, dataset: str) -> DepthNetwork:
    """The network with an exit behind each block."""
    with torch.device("meta"):
        return depth_network(Classifier(network(arch, *IMAGES[dataset]), 0.0))


def truncated(arch: str, dataset: str, depth: int | None) -> nn.Module:
    """The network up to the exit of a depth; None is the full depth."""
    full = whole(arch, dataset)
    return full.truncated(len(full.blocks) if depth is None else depth)


@cache
def disk_size(arch: str, dataset: str, depth: int | None) -> Quantity:
    """Bytes of the truncated network's state dict."""
    found = state_dict_bytes(truncated(arch, dataset, depth))
    return replace(found, band=CONTAINER * found.values[PLAIN], convention=UNSTATED)
