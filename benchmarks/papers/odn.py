"""Optimally deep networks: the search behind every row of Table I, and the full depth beside it."""

from __future__ import annotations

from collections.abc import Mapping
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
)
from benchmarks.spec import RunSpec

if TYPE_CHECKING:
    from torch import nn

    from methods.optimal_depth.network import DepthNetwork

_ODN: Where = {"table": "I"}
CAUTIONS = (
    Caution(
        INCONSISTENT,
        {
            **_ODN,
            "dataset": "EMNIST-letters",
            "variant": "depth=8/8",
            "metric": ("params", "mflops"),
        },
    ),
    Caution(
        INCONSISTENT,
        {
            **_ODN,
            "dataset": "EMNIST-letters",
            "variant": "depth=8/8",
            "metric": "disk_size",
        },
        "the size of the 10-class network is printed; 26 classes take 0.033 MB more",
    ),
    Caution(
        INCONSISTENT,
        {**_ODN, "dataset": "EMNIST-letters", "variant": "depth=3/8", "metric": "mflops"},
    ),
    Caution(
        INCONSISTENT, {**_ODN, "dataset": "SVHN", "variant": "depth=16/16", "metric": "mflops"}
    ),
)


class OptimallyDeepNetworks(Paper):
    """Optimally Deep Networks (Table I)."""

    cautions = CAUTIONS

    def route(self, claim: Claim, setting: Setting) -> Trained | Excluded:
        """The search, or the training at full depth, that a claim is of."""
        case = CASES.get(claim.dataset)
        if case is None or claim.method not in ("optimal_depth", "end_to_end"):
            reason = f"how to train {claim.method} on {claim.dataset} is not known here"
            return Excluded(NOT_RUN, reason)
        arch = claim.arch.replace("-cifar", "_cifar_stem")
        # The notebooks hold out the last images.
        split = {"val_size": case.val_size, "split": "last"}
        task = {"dataset": DATASETS[claim.dataset], "arch": arch, **split}
        task |= case.options
        label = f"{claim.method} for {claim.dataset}"
        if setting.profile == PAPER:
            return _published(claim, setting, case, task, label)
        cut = _reduced(setting, case, task)
        if claim.method == "end_to_end":
            recipe = {key: value for key, value in cut.recipe.items() if key != "schedule"}
            spec = run_spec(
                "odn", setting, cut.task, "end_to_end", {}, cut.full_depth, recipe, label=label
            )
            return Trained(spec, Measure("top1", "full", TESTED))
        options = {**case.search, **cut.search}
        task = {**cut.task, "train_size": cut.epoch} if cut.epoch else cut.task
        spec = run_spec(
            "odn", setting, task, "optimal_depth", options, cut.budget, cut.recipe, label=label
        )
        measure = Measure("top1", claim.variant, TESTED, deepest=True)
        return Trained(spec, measure, controls=_controls(claim, spec))

    def quantity(self, claim: Claim) -> Quantity | None:
        """The figure of a claim in its unit; None for what the project cannot count."""
        from benchmarks.papers.counts import operations, stored_parameters

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


TESTED = "test_best"
"""The paper tests the weights that were best on validation."""


@dataclass(frozen=True)
class Case:
    """How one data set was searched, by the official notebooks and their printed logs."""

    target: float
    """Validation accuracy, in %."""
    most_epochs: int
    """What the search may spend: twice the printed epochs, so that its own rule ends it."""
    printed_epochs: int | None = None
    """Of search and fine-tuning in the notebook's log; None where it prints none."""
    warmup_epochs: int = 3
    warmup_lr: float = 0.001
    lr_first: float = 0.01
    lr_later: float = 0.005
    val_size: int = 10_000
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further options of the task."""
    images: str = ""
    """Where the images that validate or test are others than the paper's."""

    @property
    def printed(self) -> str:
        """How long the published search took, in words."""
        if self.printed_epochs is None:
            return "neither paper nor notebook says how many epochs the search took"
        return f"the notebook's search and fine-tuning took {self.printed_epochs} epochs"

    @property
    def spent(self) -> dict[str, float] | None:
        """The budget that the published run spent, its warm-up included, where that is known."""
        if self.printed_epochs is None:
            return None
        return {"epochs": self.warmup_epochs + self.printed_epochs}

    @property
    def search(self) -> dict[str, Any]:
        """Options of ``optimal_depth``; patience and decay are the method's own defaults."""
        return {
            "preset": "log",
            "target_accuracy": self.target,
            "warmup_epochs": self.warmup_epochs,
            "warmup_lr": self.warmup_lr,
            "lr_first": self.lr_first,
            "lr_later": self.lr_later,
            "by_products": False,
        }


_CROPPED = {"augment": {"pad": 4, "flip": True, "normalise": None}}
CASES: Mapping[str, Case] = {
    "MNIST": Case(99.5, 330, 162),
    "EMNIST-letters": Case(
        95.0,
        500,
        val_size=20_800,
        images=(
            "the paper's notebook trains on all 124,800 images and defines no validation split of "
            "its own; here the last 20,800 validate"
        ),
    ),
    "Fashion-MNIST": Case(94.5, 766, 380),
    "SVHN": Case(
        96.0,
        996,
        495,
        warmup_lr=0.01,
        lr_first=0.1,
        lr_later=0.05,
        val_size=5_000,
        images="the notebook leaves the last 32 of the 26,032 test images out",
    ),
    "CIFAR-10": Case(94.5, 1000, warmup_epochs=0, lr_later=0.01, val_size=5_000, options=_CROPPED),
}
"""The table of recipes in the project's page on the method."""

RECIPE = {"batch_size": 128, "optimizer": sgd(0.1, 5e-4), "schedule": []}
FULL_DEPTH_LR = 0.1
"""Section IV: 'initial learning rate of 0.1'."""


def _published(
    claim: Claim, setting: Setting, case: Case, task: dict[str, Any], label: str
) -> Trained:
    """The search by the notebooks; at full depth the same rule, for the paper names no other.

    At full depth it compares exactly, as the notebooks do at the last depth.
    """
    options, remark = case.search, case.printed
    if claim.method == "end_to_end":
        options = {
            **case.search,
            "preset": "paper",
            "target_accuracy": 100,
            "tolerance": 0,
            "warmup_epochs": 0,
            "min_depth": int(claim.variant.partition("/")[2]),
            "lr_first": FULL_DEPTH_LR,
        }
        remark = (
            "trained at full depth by the paper's optimizer and stopping rule, for it does not say "
            "how these networks were trained"
        )
    budget = {"epochs": case.most_epochs}
    spec = run_spec("odn", setting, task, "optimal_depth", options, budget, RECIPE, label=label)
    measure = Measure("top1", claim.variant, TESTED, deepest=True)
    remarks = tuple(filter(None, (remark, case.images)))
    searched = claim.method == "optimal_depth"
    controls = _controls(claim, spec, case.spent) * searched
    return Trained(spec, measure, remarks=remarks, controls=controls)


def _controls(
    claim: Claim, spec: RunSpec, spent: dict[str, float] | None = None
) -> tuple[RunSpec, ...]:
    """The search without its warm-up (Figure 3), and the published depth alone, from scratch.

    Alone it trains for ``spent``, by default the budget of the search: a ceiling under the profile
    paper, which a search that ends by its own rule does not spend.
    """
    depth = int(claim.variant.removeprefix("depth=").partition("/")[0])
    cosine = [{"type": "CosineAnnealingLR", "begin": 0.0, "end": 1.0, "T_max": 1.0}]
    alone = replace(
        spec,
        method_options={"fixed_depth": depth},
        recipe={**spec.recipe, "schedule": cosine},
        budget=Budget.parse(spent) if spent else spec.budget,
        label=f"depth {depth} from scratch for {claim.dataset}",
    )
    if not spec.method_options["warmup_epochs"]:
        return (alone,)
    options = {**spec.method_options, "warmup_epochs": 0}
    return alone, replace(spec, method_options=options, label=f"{spec.label}, without warm-up")


@dataclass(frozen=True)
class Reduced:
    """A smaller reproduction: what is changed for the search, and the two budgets."""

    task: dict[str, Any]
    recipe: dict[str, Any]
    search: dict[str, Any]
    budget: dict[str, float]
    full_depth: dict[str, float]
    """The budget of the training at full depth."""
    epoch: int | None = None
    """Images in an epoch of the search, where a whole one would leave it with too few."""


def _reduced(setting: Setting, case: Case, task: dict[str, Any]) -> Reduced:
    warm_up = {"warmup_epochs": min(1, case.warmup_epochs)}
    if setting.profile != SMOKE and setting.gpu:
        search = {"patience": 3, "decay_every": 1, **warm_up}
        return Reduced(task, dict(RECIPE), search, {"epochs": 40}, {"epochs": 10})
    if setting.profile == SMOKE:
        return Reduced(
            {"dataset": STAND_IN, "arch": task["arch"]},
            {"batch_size": 32, "optimizer": sgd(0.05, 5e-4), "schedule": []},
            {"patience": 1, "decay_every": 1, "lr_first": 0.05, "lr_later": 0.05, **warm_up},
            {"samples": 3_200},
            {"samples": 1_280},
            epoch=640,
        )
    # Two data sets take two cores a quarter of an hour, half of it for testing the full depths on
    # all test images. A warm-up at all depths would take as long again. Batches are small because
    # shallow networks want steps more than anything.
    rates = {"lr_first": 0.02, "lr_later": 0.02, "decay_every": 1, "decay": 0.5}
    return Reduced(
        {**task, "val_size": 1_000},
        {"batch_size": 32, "optimizer": sgd(0.02, 5e-4), "schedule": []},
        {"patience": 2, "warmup_epochs": 0, **rates},
        {"samples": 40_000},
        {"samples": 4_000},
        epoch=2_500,
    )


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


@cache
def whole(arch: str, dataset: str) -> DepthNetwork:
    """The network with an exit behind each block."""
    import torch

    from benchmarks.papers.counts import network
    from methods.optimal_depth.network import depth_network
    from tasks.classification.classifier import Classifier

    with torch.device("meta"):
        return depth_network(Classifier(network(arch, *IMAGES[dataset]), 0.0))


def truncated(arch: str, dataset: str, depth: int | None) -> nn.Module:
    """The network up to the exit of a depth; None is the full depth."""
    full = whole(arch, dataset)
    return full.truncated(len(full.blocks) if depth is None else depth)


@cache
def disk_size(arch: str, dataset: str, depth: int | None) -> Quantity:
    """Bytes of the truncated network's state dict."""
    from benchmarks.papers.counts import state_dict_bytes

    found = state_dict_bytes(truncated(arch, dataset, depth))
    return replace(found, band=CONTAINER * found.values[PLAIN], convention=UNSTATED)


paper = OptimallyDeepNetworks("odn")
