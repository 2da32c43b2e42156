"""Adaptive depth networks on ImageNet: tables 1 to 4, Figure 5 and the README's sub-networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.claims import Claim
from benchmarks.reproduce import adn_detectors
from benchmarks.reproduce.routes import (
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
    warm_up_and_cosine,
)
from benchmarks.verify.cautions import NOT_RUN

LATENCY_BATCH = 64
"""Table 1: 'batch size = 64'."""
HELD_OUT = 1_000
"""Training images that validate: the project wants some, the paper held out none."""
REMARK = f"{HELD_OUT:,} of the 1,281,167 training images validate instead"

TABLE_2 = {
    "ResNet50-ADN (base)": "resnet50",
    "MV2-ADN (base)": "mobilenet_v2",
    "Swin-T-ADN (base)": "swin_t",
}
"""What the table's own names stand for."""


@dataclass(frozen=True)
class Network:
    """How one network was trained on ImageNet.

    Attributes:
        epochs: of the published recipe.
        recipe: the published one, as changes to the task's.
        subnets: those that any claim is about.
        stand_in: what a smoke run trains in its place...
        samples: ... and on how many images: what the network needs to learn some digits.
        options: of the task.
        changes: what of the published recipe the project does not have.
    """

    epochs: int
    recipe: Mapping[str, Any]
    subnets: tuple[str, ...]
    stand_in: str | Mapping[str, Any]
    samples: int
    options: Mapping[str, Any] = field(default_factory=dict)
    changes: tuple[str, ...] = ()


_MOBILENET = {
    "name": "mobilenet_v2",
    "inverted_residual_setting": [
        *([1, 16, 1, 1], [6, 24, 2, 1], [6, 32, 3, 1], [6, 64, 4, 2]),
        *([6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]),
    ],
}
"""MobileNetV2's rows with strides for images of 8x8 pixels."""
_UNDECAYED = {"norm_decay_mult": 0.0, "bias_decay_mult": 0.0}
_DEIT = "the published recipe mixes images (mixup, cutmix), which the project does not"
_VIT = Network(
    epochs=300,
    recipe={
        "batch_size": 1024,
        "optimizer": {"type": "AdamW", "lr": 7.5e-4, "weight_decay": 0.2},
        "schedule": warm_up_and_cosine(30 / 300),
        "clip_grad": {"max_norm": 1.0},
        "paramwise": {},  # the official command decays every parameter
    },
    subnets=("super", "FFFT", "TTFF", "TTFT", "base"),
    stand_in="vit_tiny",
    samples=2_560,
    options={"augment": {"randaugment": True}, "label_smoothing": 0.11},
    changes=(_DEIT, "no moving average of the weights is tested"),
)

NETWORKS: Mapping[str, Network] = {
    "resnet50": Network(
        epochs=150,
        recipe={
            "batch_size": 256,
            "optimizer": sgd(0.1, 1e-4),
            "schedule": steps_at(0.1, 60 / 150, 100 / 150, 140 / 150),
            "paramwise": _UNDECAYED,
        },
        subnets=("super", "TFFF", "TTFF", "TTTF", "base"),
        stand_in="resnet18_cifar_stem",
        samples=1_280,
    ),
    "mobilenet_v2": Network(
        epochs=300,
        recipe={
            "batch_size": 256,
            "optimizer": sgd(0.1, 1e-5),
            "schedule": steps_at(0.1, 150 / 300, 225 / 300, 285 / 300),
            "paramwise": _UNDECAYED,
        },
        subnets=("super", "base"),
        stand_in=_MOBILENET,
        samples=3_840,
    ),
    "vit_b_16": _VIT,
    "vit_b_32": _VIT,
    "swin_t": Network(
        epochs=300,
        recipe={
            "batch_size": 1024,
            "optimizer": {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.05},
            "schedule": warm_up_and_cosine(20 / 300),
            "clip_grad": {"max_norm": 5.0},
        },
        subnets=("super", "TFFF", "TTFF", "base"),
        stand_in="swin_t",
        samples=640,
        options={"augment": {"randaugment": True}, "label_smoothing": 0.1},
        changes=(_DEIT, "stochastic depth is torchvision's 0.2 instead of 0.1"),
    ),
}
"""Recipes of the project's page on the method, by network."""

SWIN_BASE = {"swin_last_mandatory": True}
"""Tables 1 and 2 count Swin's base-net with 1, 1, 3, 2 blocks; the README's has one less."""


def route(claim: Claim, setting: Setting) -> Trained | Excluded:
    """The training that a claim is of."""
    if claim.task == "detection":
        return adn_detectors.route(claim, setting)
    arch = TABLE_2.get(claim.arch, claim.arch)
    if arch not in NETWORKS:
        reason = f"how to train {claim.arch} is not known here; table {claim.table} quotes it"
        return Excluded(NOT_RUN, reason)
    swin = SWIN_BASE if arch == "swin_t" and claim.table != "README" else {}
    method, options, variant = _method(claim, arch, swin)
    spec = _spec(setting, arch, method, options)
    changes = NETWORKS[arch].changes
    if claim.metric == "energy_reduction":
        changes = (*changes, f"energy is measured at batch {LATENCY_BATCH}")
    return Trained(spec, _measure(claim, variant), changes, (REMARK,))


def _method(claim: Claim, arch: str, swin: Mapping[str, Any]) -> tuple[str, dict[str, Any], str]:
    """Method, its options, and the variant meant."""
    if claim.method == "end_to_end":
        base = claim.variant == "base"
        return ("base_net", {**swin}, "full") if base else ("end_to_end", {}, "full")
    variant, *told = claim.variant.split("; ")
    options: dict[str, Any] = {**swin}
    for text in told:
        options |= _ABLATIONS[text]
    if claim.arch in TABLE_2:
        variant = "base"
    if set(variant) <= {"T", "F"} and len(set(variant)) == 1:
        variant = "base" if variant[0] == "T" else "super"
    options["subnets"] = ["super", "base"] if swin else list(NETWORKS[arch].subnets)
    return "adaptive_depth", options, variant


_ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "distill=on": {},
    "distill=off": {"distillation": False},
    "distill=outputs-only": {"feature_kl": False},
    "skip_norms=on": {},
    "skip_norms=off": {"skip_aware_norms": False},
}
"""Table 4."""


def _measure(claim: Claim, variant: str) -> Measure:
    """The row of a claim."""
    if claim.metric == "latency":
        return Measure(f"latency@{LATENCY_BATCH}", variant, "inference", 1e3)
    if claim.metric == "train_time":  # minutes an epoch
        return Measure("epoch_time", "", "train", 1 / 60)
    if claim.metric == "latency_reduction":  # Figure 5 has batches of 1
        return Measure("latency@1", "base", "inference", below="super")
    if claim.metric == "energy_reduction":
        return Measure(f"energy_image@{LATENCY_BATCH}", "base", "inference", below="super")
    return Measure(claim.metric, variant)


def _spec(setting: Setting, arch: str, method: str, options: dict[str, Any]) -> Any:
    network = NETWORKS[arch]
    task: dict[str, Any] = {
        "dataset": DATASETS["ImageNet-1k"],
        "arch": arch,
        "val_size": HELD_OUT,
        **network.options,
    }
    recipe, batches = network.recipe, (1, LATENCY_BATCH)
    budget: dict[str, float] = {"epochs": network.epochs}
    if setting.profile == SMOKE:
        task, recipe = {"dataset": STAND_IN, "arch": network.stand_in}, {}
        budget = {"samples": network.samples}
    elif setting.profile != PAPER:
        budget = {"samples": 262_144 if setting.gpu else 2_048}
    return run_spec(
        "adn", setting, task, method, options, budget, recipe, latency_batch_sizes=batches
    )
