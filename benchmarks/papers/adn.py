"""Adaptive depth networks on ImageNet: tables 1 to 4, Figure 5 and the README's sub-networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from benchmarks.budget import Budget
from benchmarks.papers import adn_detectors
from benchmarks.papers.adn_recipes import NETWORKS, RESNET_V2
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
)
from benchmarks.spec import RunSpec

LATENCY_BATCH = 64
"""Table 1: 'batch size = 64'."""
HELD_OUT = 1_000
"""Training images that validate: the project wants some, the paper held out none."""
TIMED_BATCH = 128
"""Table 3: 'batch 128' on an RTX 4090."""
SMALL_BATCH = 8
"""What stands for it where there is no such device."""
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


def route(claim: Claim, setting: Setting) -> Trained | Excluded:
    """The training that a claim is of."""
    if claim.task == "detection":
        return adn_detectors.route(claim, setting)
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
    variant, *told = claim.variant.split("; ")
    options: dict[str, Any] = {**swin}
    for text in told:
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
