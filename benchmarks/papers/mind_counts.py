"""MIND: parameters of the networks it names, its introspection network among them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from benchmarks.papers.claims import Claim
from benchmarks.papers.counts import network, stored_parameters
from benchmarks.papers.quantity import PLAIN, Quantity
from methods.mind import Mind
from tasks.classification.classifier import Classifier

CLASSES = {"CIFAR-100": 100, "ImageNet-1k": 1000}
ARCHS = {"resnet50": "resnet50", "efficientnet_b7": "efficientnet_b7", "mind-cnn": "mind_cnn"}


def quantity(claim: Claim) -> Quantity | None:
    """The figure of a claim in its unit; None for what the project cannot count."""
    if claim.metric != "params" or claim.arch not in ARCHS or claim.dataset not in CLASSES:
        return None
    classes = CLASSES[claim.dataset]
    arch = ARCHS[claim.arch]
    chooses = claim.method == "mind"
    imagenet = parameters(arch, 1000, chooses).values[PLAIN] / 1e6
    doubt = f"1,000 classes give {imagenet:.2f} M"
    return replace(parameters(arch, classes, chooses), doubt=doubt) / 1e6


@cache
def parameters(arch: str, classes: int, chooses: bool) -> Quantity:
    """All parameters of a network for so many classes.

    Args:
        arch: of the network.
        classes: told apart.
        chooses: whether the introspection network belongs to it.
    """
    model = network(arch, classes, channels=3, size=224)
    if chooses:
        model = Mind().prepare(Classifier(model))
    return stored_parameters(model)
