"""How the networks of adaptive depth were trained on ImageNet: the official commands, and ours.

What a recipe here leaves out is read off the command, flag by flag, so that no difference is
forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.papers.routes import sgd, steps_at, warm_up_and_cosine


@dataclass(frozen=True)
class Network:
    """How one network was trained on ImageNet.

    Attributes:
        command: flags of the official command (README of github.com/wchkang/depth), with the
            batch of its four processes together, and the stochastic depth that its model sets.
        recipe: the same, as changes to the task's recipe...
        options: ... and as options of the task.
        subnets: those that any claim is about.
        stand_in: what a smoke run trains in its place...
        samples: ... and on how many images: what the network needs to learn some digits.
        arch: of the task.
    """

    command: Mapping[str, Any]
    recipe: Mapping[str, Any]
    subnets: tuple[str, ...]
    stand_in: str | Mapping[str, Any]
    samples: int
    arch: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Of the published training."""
        epochs: int = self.command["epochs"]
        return epochs

    @property
    def departures(self) -> tuple[str, ...]:
        """What of the command the recipe does not do, one sentence each."""
        return tuple(_departures(self))


def _schedule(network: Network, kind: str) -> Mapping[str, Any]:
    found = (part for part in network.recipe["schedule"] if part["type"] == kind)
    return next(found, {})


def _warm_up(network: Network) -> Mapping[str, Any]:
    return _schedule(network, "LinearLR")


def _steps(network: Network) -> list[int]:
    marks = _schedule(network, "MultiStepLR").get("milestones", ())
    return [round(mark * network.epochs) for mark in marks]


def _augment(network: Network) -> Mapping[str, Any]:
    augment: Mapping[str, Any] = network.options.get("augment", {})
    return augment


def _policy(network: Network) -> str:
    return {"randaugment": "ra", "trivialaugment": "ta_wide"}[_augment(network)["policy"]]


def _optimizer(network: Network) -> Mapping[str, Any]:
    optimizer: Mapping[str, Any] = network.recipe["optimizer"]
    return optimizer


def _decay_factor(network: Network, key: str) -> float:
    """Decay of some parameters: the task's default leaves norms, biases and embeddings alone."""
    factor = network.recipe.get("paramwise", {key: 0.0}).get(key, 1.0)
    return float(factor * _optimizer(network)["weight_decay"])


BUILT: Mapping[str, Callable[[Network], Any]] = {
    "batch": lambda network: network.recipe["batch_size"],
    "epochs": lambda network: network.epochs,
    "opt": lambda network: _optimizer(network)["type"].lower(),
    "lr": lambda network: _optimizer(network)["lr"],
    "weight-decay": lambda network: _optimizer(network)["weight_decay"],
    "norm-weight-decay": lambda network: _decay_factor(network, "norm_decay_mult"),
    "bias-weight-decay": lambda network: _decay_factor(network, "bias_decay_mult"),
    "transformer-embedding-decay": lambda network: _decay_factor(network, "custom_keys"),
    "lr-multi-steps": _steps,
    "lr-warmup-epochs": lambda network: round(_warm_up(network)["end"] * network.epochs),
    "lr-warmup-decay": lambda network: _warm_up(network)["start_factor"],
    "lr-min": lambda network: _schedule(network, "CosineAnnealingLR")["eta_min"],
    "label-smoothing": lambda network: network.options["label_smoothing"],
    "clip-grad-norm": lambda network: network.recipe["clip_grad"]["max_norm"],
    "auto-augment": _policy,
    "random-erase": lambda network: _augment(network)["erase"],
    "train-crop-size": lambda network: 224,
    "interpolation": lambda network: "bilinear",
    "val-resize-size": lambda network: 256,
    "stochastic-depth": lambda network: 0.2,  # torchvision's
}
"""What a recipe here does, by the flag of the command that asks for it."""

MISSING: Mapping[str, str] = {
    "mixup-alpha": "mixup",
    "cutmix-alpha": "cutmix",
    "model-ema": "the moving average of the weights, which is what was tested",
    "ra-sampler": "repeated augmentation",
    "amp": "mixed precision",
}
"""What no recipe here has, by flag."""


def _departures(network: Network) -> Iterator[str]:
    """Sentences on the flags that the recipe does not follow.

    Raises:
        KeyError: a flag of the command is neither built nor known to be missing.
    """
    for flag, asked in network.command.items():
        if flag in MISSING:
            yield f"without {MISSING[flag]} (--{flag}{'' if asked is True else f' {asked}'})"
        elif (built := BUILT[flag](network)) != asked:
            yield f"--{flag} is {built} (published: {asked})"


_MOBILENET = {
    "name": "mobilenet_v2",
    "inverted_residual_setting": [
        *([1, 16, 1, 1], [6, 24, 2, 1], [6, 32, 3, 1], [6, 64, 4, 2]),
        *([6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]),
    ],
}
"""MobileNetV2's rows with strides for images of 8x8 pixels."""
_UNDECAYED = {"norm_decay_mult": 0.0, "bias_decay_mult": 0.0}
_CONVOLUTIONAL = {"opt": "sgd", "norm-weight-decay": 0.0, "bias-weight-decay": 0.0}


def _vit(arch: str) -> Network:
    """The command of ViT-B/16; that of B/32 is not published."""
    return Network(
        command={
            **{"epochs": 300, "batch": 1024, "opt": "adamw", "lr": 7.5e-4, "weight-decay": 0.2},
            **{"lr-warmup-epochs": 30, "lr-warmup-decay": 0.033, "amp": True},
            **{"label-smoothing": 0.11, "mixup-alpha": 0.2, "auto-augment": "ra"},
            **{"clip-grad-norm": 1.0, "ra-sampler": True, "cutmix-alpha": 1.0, "model-ema": True},
        },
        recipe={
            "batch_size": 1024,
            "optimizer": {"type": "AdamW", "lr": 7.5e-4, "weight_decay": 0.2},
            "schedule": warm_up_and_cosine(30 / 300, start=0.033),
            "clip_grad": {"max_norm": 1.0},
            "paramwise": {},  # the official command decays every parameter
        },
        subnets=("super", "FFFT", "TTFF", "TTFT", "base"),
        stand_in="vit_tiny",
        samples=2_560,
        arch=arch,
        options={"augment": {"policy": "randaugment"}, "label_smoothing": 0.11},
    )


RESNET_V2 = "resnet50 (v2)"
"""The README's second ResNet-50, by torchvision's newer recipe."""

NETWORKS: Mapping[str, Network] = {
    "resnet50": Network(
        command={
            **_CONVOLUTIONAL,
            **{"epochs": 150, "batch": 256, "lr": 0.1, "weight-decay": 1e-4},
            "lr-multi-steps": [60, 100, 140],
        },
        recipe={
            "batch_size": 256,
            "optimizer": sgd(0.1, 1e-4),
            "schedule": steps_at(0.1, 60 / 150, 100 / 150, 140 / 150),
            "paramwise": _UNDECAYED,
        },
        subnets=("super", "TFFF", "TTFF", "TTTF", "base"),
        stand_in="resnet18_cifar_stem",
        samples=1_280,
        arch="resnet50",
    ),
    RESNET_V2: Network(
        command={
            **_CONVOLUTIONAL,
            **{"epochs": 600, "batch": 1024, "lr": 0.5, "weight-decay": 2e-5},
            **{"lr-warmup-epochs": 5, "auto-augment": "ta_wide", "random-erase": 0.1},
            **{"mixup-alpha": 0.2, "cutmix-alpha": 1.0, "train-crop-size": 176, "model-ema": True},
            **{"val-resize-size": 232, "ra-sampler": 4, "amp": True},
        },
        recipe={
            "batch_size": 1024,
            "optimizer": sgd(0.5, 2e-5),
            "schedule": warm_up_and_cosine(5 / 600),
            "paramwise": _UNDECAYED,
        },
        subnets=("super", "TFFF", "TTFF", "TTTF", "base"),
        stand_in="resnet18_cifar_stem",
        samples=1_280,
        arch="resnet50",
        options={"augment": {"policy": "trivialaugment", "erase": 0.1}},
    ),
    "mobilenet_v2": Network(
        command={
            **_CONVOLUTIONAL,
            **{"epochs": 300, "batch": 256, "lr": 0.1, "weight-decay": 1e-5},
            "lr-multi-steps": [150, 225, 285],
        },
        recipe={
            "batch_size": 256,
            "optimizer": sgd(0.1, 1e-5),
            "schedule": steps_at(0.1, 150 / 300, 225 / 300, 285 / 300),
            "paramwise": _UNDECAYED,
        },
        subnets=("super", "base"),
        stand_in=_MOBILENET,
        samples=3_840,
        arch="mobilenet_v2",
    ),
    "vit_b_16": _vit("vit_b_16"),
    "vit_b_32": _vit("vit_b_32"),
    "swin_t": Network(
        command={
            **{"epochs": 300, "batch": 1024, "opt": "adamw", "lr": 1e-3, "weight-decay": 0.05},
            **{"norm-weight-decay": 0.0, "bias-weight-decay": 0.0},
            **{"transformer-embedding-decay": 0.0, "lr-min": 1e-5, "lr-warmup-epochs": 20},
            **{"lr-warmup-decay": 0.01, "amp": True, "label-smoothing": 0.1, "mixup-alpha": 0.8},
            **{"clip-grad-norm": 5.0, "cutmix-alpha": 1.0, "random-erase": 0.25},
            **{"interpolation": "bicubic", "auto-augment": "ta_wide", "model-ema": True},
            **{"ra-sampler": 4, "val-resize-size": 224, "stochastic-depth": 0.1},
        },
        recipe={
            "batch_size": 1024,
            "optimizer": {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.05},
            "schedule": warm_up_and_cosine(20 / 300, lowest=1e-5),
            "clip_grad": {"max_norm": 5.0},
        },
        subnets=("super", "TFFF", "TTFF", "base"),
        stand_in="swin_t",
        samples=640,
        arch="swin_t",
        options={
            "augment": {"policy": "trivialaugment", "erase": 0.25},
            "label_smoothing": 0.1,
        },
    ),
}
"""By the network's name in a claim, or :data:`RESNET_V2`."""
