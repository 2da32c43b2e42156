"""Adaptive depth networks on ImageNet: tables 1 to 4, Figure 5 and the README's sub-networks.

Detectors are those of table 5 and of the README, whose operations were counted in different ways.
Faster and Mask R-CNN's are those of mmdet 2's ``get_flops.py`` at its default input. RetinaNet's
figure is the one that torchvision ships with its weights: multiply-adds alone, of its own model, at
the size that it resizes a square picture to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from benchmarks.budget import Budget
from benchmarks.papers.cautions import INCONSISTENT, NOT_RUN, Caution, Where
from benchmarks.papers.claims import Claim
from benchmarks.papers.paper import Paper
from benchmarks.papers.quantity import PLAIN, Quantity, reduction
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
    warm_up_and_cosine,
)
from benchmarks.spec import RunSpec

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torchvision.models.detection import RetinaNet


_ADN: Where = {"table": "1"}
_ADN_BASE: Where = {**_ADN, "method": "end_to_end", "variant": "base"}
CAUTIONS = (
    Caution(
        INCONSISTENT,
        {**_ADN, "arch": "mobilenet_v2", "method": "adaptive_depth", "metric": "params"},
    ),
    Caution(INCONSISTENT, {**_ADN_BASE, "arch": "mobilenet_v2", "metric": "params"}),
    Caution(
        INCONSISTENT,
        {**_ADN_BASE, "arch": "mobilenet_v2", "metric": "gmacs"},
        "no split gives 2.99 M and 0.25 G together",
    ),
    Caution(INCONSISTENT, {**_ADN_BASE, "arch": ("vit_b_16", "swin_t"), "metric": "params"}),
    Caution(
        INCONSISTENT,
        {"table": "Figure 5", "metric": "gmacs_reduction"},
        "table 2 prints 37 % for the same two networks",
    ),
)


class AdaptiveDepthNetworks(Paper):
    """Kang, Adaptive Depth Networks with Skippable Sub-Paths (arXiv 2312.16392)."""

    cautions = CAUTIONS

    def method(self, claim: Claim) -> str:
        """Table 2 lists the paper's own networks beside methods, under names of their own."""
        return "adaptive_depth" if claim.arch in TABLE_2 else claim.method

    def route(self, claim: Claim, setting: Setting) -> Trained | Excluded:
        """The training that a claim is of."""
        if claim.task == "detection":
            return _detector_route(claim, setting)
        arch = TABLE_2.get(claim.arch, claim.arch)
        name = RESNET_V2 if claim.table == RESNET_V2_TABLE else arch
        if name not in NETWORKS:
            reason = f"how to train {claim.arch} is not known here; table {claim.table} quotes it"
            return Excluded(NOT_RUN, reason)
        swin = SWIN_BASE if arch == "swin_t" and not claim.table.startswith("README") else {}
        method, options, variant = _method(claim, name, swin)
        spec = _spec(setting, name, method, options)
        changes, remarks = NETWORKS[name].departures, (REMARK,)
        if claim.metric == "energy_reduction":
            changes = (*changes, f"energy is measured at batch {LATENCY_BATCH}")
        if claim.metric == "train_time":
            spec = _timed(spec, setting)
            changes, remarks = (), (f"trained at batch {spec.recipe['batch_size']}",)
        controls = _controls(spec, variant)
        return Trained(spec, _measure(claim, variant), changes, remarks, controls)

    def quantity(self, claim: Claim) -> Quantity | None:
        """The figure of a claim in its unit; None for what the project cannot count."""
        from benchmarks.papers.counts import stored_parameters

        arch = TABLE_2.get(claim.arch, claim.arch)
        variant = "base" if claim.arch in TABLE_2 else claim.variant
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


LATENCY_BATCH = 64
"""Table 1: 'batch size = 64'."""
HELD_OUT = 1_000
"""Training images that validate: the project wants some, the paper held out none."""
TIMED_BATCH = 128
"""Table 3: 'batch 128' on an RTX 4090."""
SMALL_BATCH = 8
"""In its place where there is no such device."""
RESNET_V2_TABLE = "README (v2)"
REMARK = f"{HELD_OUT:,} of the 1,281,167 training images validate instead"

TABLE_2 = {
    "ResNet50-ADN (base)": "resnet50",
    "MV2-ADN (base)": "mobilenet_v2",
    "Swin-T-ADN (base)": "swin_t",
}
"""What the table's own names stand for."""


SWIN_BASE = {"swin_last_mandatory": True}
"""Tables 1 and 2 count Swin's base-net with 1, 1, 3, 2 blocks; the README's has one less."""


def _timed(spec: RunSpec, setting: Setting) -> RunSpec:
    """Table 3: minutes an epoch at its batch size, which one epoch tells."""
    batch = TIMED_BATCH if setting.profile == PAPER or setting.gpu else SMALL_BATCH
    budget = Budget.parse({"epochs": 1}) if setting.profile == PAPER else spec.budget
    return replace(spec, recipe={**spec.recipe, "batch_size": batch}, budget=budget)


def _controls(spec: RunSpec, variant: str) -> tuple[RunSpec, ...]:
    """A sub-network between the smallest and the largest, trained alone (Figure 3)."""
    if spec.method != "adaptive_depth" or set(variant) != {"T", "F"}:
        return ()
    swin = {k: v for k, v in spec.method_options.items() if k in SWIN_BASE}
    options = {**swin, "skip": variant}
    label = f"{variant} of {spec.task_options['arch']} alone"
    return (replace(spec, method="base_net", method_options=options, label=label),)


def _method(claim: Claim, name: str, swin: Mapping[str, Any]) -> tuple[str, dict[str, Any], str]:
    """Method, its options, and the variant meant."""
    if claim.method == "end_to_end":
        base = claim.variant == "base"
        return ("base_net", {**swin}, "full") if base else ("end_to_end", {}, "full")
    variant, *settings = claim.variant.split("; ")
    options: dict[str, Any] = {**swin}
    for text in settings:
        options |= _ABLATIONS[text]
    if claim.arch in TABLE_2:
        variant = "base"
    if set(variant) <= {"T", "F"} and len(set(variant)) == 1:
        variant = "base" if variant[0] == "T" else "super"
    options["subnets"] = ["super", "base"] if swin else list(NETWORKS[name].subnets)
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


def _spec(setting: Setting, name: str, method: str, options: dict[str, Any]) -> RunSpec:
    network = NETWORKS[name]
    task: dict[str, Any] = {
        "dataset": DATASETS["ImageNet-1k"],
        "arch": network.arch,
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
"""What a recipe here does, by the flag of the command."""

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


PRETRAINED = "resnet50-0676ba61.pth"
"""torchvision's weights of ResNet-50, IMAGENET1K_V1, under the data root."""

STAND_INS = {
    "faster_rcnn_r50_fpn": "faster_rcnn_tiny",
    "mask_rcnn_r50_fpn": "mask_rcnn_tiny",
    "retinanet_r50_fpn": "retinanet_tiny",
}
SCENES = {"name": "digit_scenes", "train": 64, "val": 16, "test": 16, "size": 96}
"""What a smoke run detects: real digits on textured ground, made on the spot."""

OTHER_WEIGHTS = {
    "adaptive_depth": "the backbone starts from a plain ResNet-50's ImageNet weights, the paper's "
    "from those of its adaptive depth network",
    "base_net": "the backbone starts from the ImageNet weights of the whole ResNet-50, the paper's "
    "from those of its base network",
}


def _detector_route(claim: Claim, setting: Setting) -> Trained | Excluded:
    """The detector that a claim is of."""
    if claim.arch not in STAND_INS:
        return Excluded(NOT_RUN, f"how to train {claim.arch} is not known here")
    method, options, variant = _detector_method(claim)
    changes = [OTHER_WEIGHTS[method]] if method in OTHER_WEIGHTS else []
    if claim.table.startswith("README"):
        changes.append("the README does not say how its detectors were trained")
    spec = _detector_spec(claim, setting, method, options)
    return Trained(spec, Measure(claim.metric, variant), tuple(changes))


def _detector_method(claim: Claim) -> tuple[str, dict[str, Any], str]:
    if claim.method == "adaptive_depth":
        return "adaptive_depth", {"subnets": ["super", "base"]}, claim.variant
    return ("base_net" if claim.variant == "base" else "end_to_end"), {}, "full"


def _detector_spec(claim: Claim, setting: Setting, method: str, options: dict[str, Any]) -> Any:
    task: dict[str, Any] = {
        "dataset": DATASETS[claim.dataset],
        "arch": claim.arch,
        "pretrained": PRETRAINED,
        "schedule": "12_epochs",
    }
    recipe: dict[str, Any] = {}
    if claim.arch == "retinanet_r50_fpn":  # mmdet's own learning rate, half of the others'
        recipe = {"optimizer": {"lr": 0.01}}
    budget: dict[str, float] = {"epochs": 12}
    if setting.profile == SMOKE:
        task = {
            "dataset": SCENES,
            "arch": STAND_INS[claim.arch],
            "pretrained": "random",
            "schedule": "small",
            "image_size": [96, 96],
            "eval_batch_size": 8,
        }
        recipe, budget = {"batch_size": 4}, {"samples": 128}
    elif setting.profile != PAPER:
        budget = {"samples": 8_192 if setting.gpu else 16}
    return run_spec(
        "adn", setting, task, method, options, budget, recipe, task="detection", validate_every=12
    )


COUNTING = {
    "resnet50": "fvcore",
    "mobilenet_v2": "fvcore",
    "vit_b_16": "unfused_attention",
    "swin_t": PLAIN,
}
"""The paper's counting of each network."""

PTFLOPS = "ptflops prints 0.32 G for MobileNetV2: it adds norms and activations to the products"
SWIN_COUNTED = (
    "counted with 1, 1, 3, 2 blocks a stage (swin_last_mandatory); 1, 1, 3, 1 hold 15.31 M and "
    "take 2.340 G"
)


@cache
def skippable(arch: str, swin_last_mandatory: bool = False) -> nn.Module:
    """The network with skippable blocks and doubled norms."""
    from benchmarks.papers.counts import network
    from methods.adaptive_depth import make_skippable
    from methods.adaptive_depth.split import split_stages
    from methods.blocks import block_view

    backbone = network(arch, classes=1000, channels=3, size=224)
    view = block_view(backbone)
    make_skippable(view, split_stages(view, swin_last_mandatory))
    return backbone


def subnetwork(arch: str, name: str) -> nn.Module:
    """One sub-network as a plain network."""
    from methods.adaptive_depth import export
    from methods.adaptive_depth.subnets import parse_flags

    prepared = skippable(arch, swin_last_mandatory=(arch, name) == ("swin_t", "base"))
    return export(prepared, parse_flags(name, len(prepared.switch.skip)))


@cache
def macs(arch: str, name: str) -> Quantity:
    """Multiply-adds of one sub-network for an image of 224x224 pixels."""
    from benchmarks.papers.counts import operations

    count = operations(subnetwork(arch, name), channels=3, size=224, own=COUNTING[arch])
    return _remarked(arch, name, count)


def _detector(arch: str, name: str) -> Quantity | None:
    found = detector_macs(arch, name)
    return found and found / 1e9


def _remarked(arch: str, name: str, count: Quantity) -> Quantity:
    if arch == "mobilenet_v2":
        return replace(count, doubt=PTFLOPS)
    return replace(count, remark=SWIN_COUNTED) if (arch, name) == ("swin_t", "base") else count


MMDET = {
    "faster_rcnn_r50_fpn": "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "mask_rcnn_r50_fpn": "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
}
MMDET_INPUT = (800, 1280)
"""Height and width that mmdet 2's ``get_flops.py`` takes by default."""

TORCHVISION_INPUT = (800, 800)
"""What torchvision's detectors resize a square picture to."""


@cache
def detector_macs(arch: str, name: str) -> Quantity | None:
    """Multiply-adds of a detector with one sub-network as backbone; None for an unknown one."""
    if arch in MMDET:
        return _of_mmdet(arch, name)
    if arch == "retinanet_r50_fpn":
        return _of_torchvision(name)
    return None


def _of_mmdet(arch: str, name: str) -> Quantity:
    import torch
    from mmengine.registry import MODELS

    from benchmarks.meters.operations import count_macs
    from tasks.openmmlab.config import load_config
    from tasks.openmmlab.forward import tensor_forward
    from tasks.openmmlab.scope import openmmlab

    with openmmlab("mmdet"), torch.device("meta"):
        model = MODELS.build(load_config(MMDET[arch], "mmdet").model)
    model = _with_subnetwork(model, name)
    image = torch.empty(1, 3, *MMDET_INPUT, device="meta")
    return Quantity(
        {c: count_macs(model, image, c, tensor_forward) for c in ("mmcv", PLAIN, "fvcore")},
        own="mmcv",
        remark=f"of mmdet's model at {_written(MMDET_INPUT)} with 1,000 proposals",
    )


def _of_torchvision(name: str) -> Quantity:
    import torch
    from torchvision.models.detection import retinanet_resnet50_fpn

    from benchmarks.meters.operations import count_macs

    with torch.device("meta"):
        model = retinanet_resnet50_fpn(weights=None, weights_backbone=None)
    model.backbone.body = _with_subnetwork(model.backbone.body, name)
    image = torch.empty(1, 3, *TORCHVISION_INPUT, device="meta")
    return Quantity(
        {c: count_macs(model, image, c, _retinanet_forward) for c in (PLAIN, "fvcore")},
        remark=f"of torchvision's model at {_written(TORCHVISION_INPUT)}; table 5 is counted of "
        "other models, at another size and by another counting",
    )


def _with_subnetwork(model: nn.Module, name: str) -> nn.Module:
    """A detector or backbone, its backbone reduced to one sub-network."""
    from methods.adaptive_depth import export, make_skippable
    from methods.adaptive_depth.split import split_stages
    from methods.adaptive_depth.subnets import parse_flags
    from methods.blocks import block_view

    view = block_view(model)
    stages = split_stages(view)
    make_skippable(view, stages)
    return export(model, parse_flags(name, sum(stage.split for stage in stages)))


def _retinanet_forward(model: RetinaNet, images: torch.Tensor) -> object:
    """What multiplies in it: neither the resizing before nor the boxes after."""
    return model.head(list(model.backbone(images).values()))


def _written(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


paper = AdaptiveDepthNetworks("adn")
