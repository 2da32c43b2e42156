"""How a claim is checked: by a run, by counting, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.budget import Budget
from benchmarks.spec import RunSpec

PAPER, SHORT, SMOKE = "paper", "short", "smoke"


@dataclass(frozen=True)
class Setting:
    """How large a reproduction is, and where it runs."""

    profile: str
    """``paper`` (the published budget and recipe), ``short`` (minutes of one GPU) or ``smoke``
    (small stand-ins, seconds to minutes of a CPU)."""
    gpu: bool = False
    """A short budget on a CPU is a fraction of the one on a GPU."""
    device: str = "auto"


@dataclass(frozen=True)
class Measure:
    """Which row of a run stands beside a claim.

    Attributes:
        metric: of the row, such as ``latency@64``.
        variant: of the row; empty for what belongs to the whole run.
        phase: of the row.
        scale: what turns the row's unit into the claim's.
        below: another variant: measured is then by how many percent ``variant`` is below it.
        deepest: the claim holds for what a search found. The row is that of the deepest network,
            and one of another name than ``variant`` answers another question.
    """

    metric: str
    variant: str = "full"
    phase: str = "test"
    scale: float = 1.0
    below: str = ""
    deepest: bool = False


@dataclass(frozen=True)
class Trained:
    """The claim is checked by runs that differ in their seed alone.

    Attributes:
        spec: the run; its seed does not count.
        measure: the row; the reason, as text, where no run measures what is claimed.
        changes: where run and publication differ, so that the claim cannot be compared with it.
        remarks: what a reader must know about a run that can be compared.
        controls: runs on the same budget that tell what the method's own part is worth. They settle
            no claim, and run where they are requested.
    """

    spec: RunSpec
    measure: Measure | str
    changes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    controls: tuple[RunSpec, ...] = ()


@dataclass(frozen=True)
class Counted:
    """The claim follows from the network alone: ``verify`` computes it."""


@dataclass(frozen=True)
class Excluded:
    """Nothing is run for the claim."""

    verdict: str
    reason: str


Route = Trained | Counted | Excluded

DATASETS: Mapping[str, str] = {
    "MNIST": "mnist",
    "EMNIST-letters": "emnist_letters",
    "Fashion-MNIST": "fashion_mnist",
    "SVHN": "svhn",
    "CIFAR-10": "cifar10",
    "CIFAR-100": "cifar100",
    "ImageNet-1k": "imagenet",
    "COCO-2017-val": "coco",
}
"""Data sets of the claims to those of the tasks."""

STAND_IN = "digits"
"""What stands for every classification data set in a smoke run: it comes with scikit-learn."""


def run_spec(
    paper: str,
    setting: Setting,
    task_options: Mapping[str, Any],
    method: str,
    method_options: Mapping[str, Any],
    budget: Mapping[str, float],
    recipe: Mapping[str, Any] | None = None,
    **more: Any,
) -> RunSpec:
    """A run of a paper; ``more`` are further fields of the spec.

    A smoke run takes one thread: its convolutions are small, and its numbers then do not depend on
    how many cores there are.
    """
    return RunSpec(
        suite=f"reproduce-{paper}-{setting.profile}",
        profile=setting.profile,
        task=more.pop("task", "classification"),
        task_options=task_options,
        method=method,
        method_options=method_options,
        seed=0,
        budget=Budget.parse(budget),
        recipe=recipe or {},
        device=setting.device,
        threads=1 if setting.profile == SMOKE else None,
        **more,
    )


def steps_at(gamma: float, *milestones: float) -> list[dict[str, Any]]:
    """A schedule that multiplies the learning rate by ``gamma`` at shares of the budget."""
    step = {"type": "MultiStepLR", "begin": 0.0, "end": 1.0}
    return [{**step, "milestones": list(milestones), "gamma": gamma}]


def warm_up_and_cosine(
    share: float, start: float = 0.01, lowest: float = 0.0
) -> list[dict[str, Any]]:
    """A linear warm-up over a share of the budget, then a cosine.

    Args:
        share: of the budget.
        start: of the learning rate, at the first step.
        lowest: learning rate at the end.
    """
    warm_up = {"type": "LinearLR", "start_factor": start, "begin": 0.0, "end": share}
    cosine = {"type": "CosineAnnealingLR", "begin": share, "end": 1.0, "T_max": 1.0 - share}
    return [warm_up, {**cosine, "eta_min": lowest}]


def sgd(lr: float, weight_decay: float, nesterov: bool = False) -> dict[str, Any]:
    """SGD with momentum 0.9."""
    return {
        "type": "SGD",
        "lr": lr,
        "momentum": 0.9,
        "nesterov": nesterov,
        "weight_decay": weight_decay,
    }
