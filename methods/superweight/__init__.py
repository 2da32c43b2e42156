"""SuperWeight networks (SWN): ensembles and single networks under one parameter budget.

Source: Teterwak et al., "Learning to Compose SuperWeights for Neural Parameter Allocation Search",
with its supplement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import nn

from methods.base import METHODS, Method, Phase, Phases, Trial
from methods.dense import is_dense
from methods.superweight.banks import Assignment, depth_bins, per_layer, plan_banks, random_bins
from methods.superweight.ensemble import (
    Ensemble,
    Members,
    Shared,
    SharedBackbone,
    copied,
    diversity,
    export,
    member_macs,
    networks,
    predictions_of_members,
    share_banks,
    weight_shapes,
)
from methods.superweight.ensemble import select as select_members
from methods.superweight.search import ClusterSearch, CoefficientSearch, by_relabelling, by_union
from tasks.errors import UserError
from tasks.metric import Metric

if TYPE_CHECKING:
    from tasks.base import TaskView

__all__ = ["SuperWeight", "export"]

_GROUPINGS = {"algorithm": by_union, "official": by_relabelling}


@METHODS.register("superweight")
@dataclass
class SuperWeight(Method):
    """SuperWeight networks: all members' convolutions drawn from template banks under a budget.

    Every convolution's weight is composed of blocks, each a mix of templates, see
    :mod:`methods.superweight.banks`. Norms, classifiers and biases belong to a member. The loss is
    the sum of the members' losses on the same batch; the prediction is the mean of their softmaxes.
    One member alone is neural parameter allocation search (NPAS): a network whose parameter count
    does not follow from its architecture.

    Of a detector or segmentor, one member alone, it is the backbone's convolutions that are shared:
    neck and heads are private, as a classifier is. All weights are drawn anew, so no stage may be
    frozen, nor norm layers keep pretrained statistics.
    """

    members: int | Sequence[str | Mapping[str, Any]] = 4
    """Architectures as the task's ``arch`` is written, or how many copies of the task's own."""
    max_params: float | str = "baseline"
    """Elements that all templates together may have; norms, classifiers and coefficients come on
    top. ``baseline`` is what the convolutions of the first member would store."""
    clusters: Literal["depth_bins", "per_layer", "search", "random"] = "depth_bins"
    """Layers that share a bank: 3x3 layers in ``depth_bins`` and 1x1 layers in one; the same layer
    of all members (``per_layer``); or depth bins refined by a ``search`` of its own phase, at the
    recipe's first learning rate. ``random``, a control: as many clusters as depth bins, of random
    layers with one kernel."""
    bins: int = 4
    """Depth bins of each kernel above 1x1."""
    coefficients: Literal["per_layer", "shared", "search"] = "per_layer"
    """One vector for each layer and block, one ``shared`` by all layers of a block, or shared
    until a ``search`` while training decides where they part."""
    tau: float = 0.1
    """Cluster search: similarity of weight gradients above which layers share templates."""
    beta: float = 0.9
    """Coefficient search: similarity of coefficient gradients above which layers share them."""
    grouping: Literal["algorithm", "official"] = "algorithm"
    """Algorithm 1 of the supplement, or what the ``official`` code does: relabels instead of
    uniting, and looks at a single batch for clusters."""
    init: Literal["layer_kaiming", "official"] = "layer_kaiming"
    """``official`` draws weights far larger than Kaiming. ``layer_kaiming`` rescales them to it:
    layer by layer where each has coefficients of its own, else in the mean over a block's."""
    search_share: float = 0.1
    """Share of the budget for the cluster search (the paper's 20 epochs before 200)."""
    search_epochs: int | None = None
    """The same in epochs, instead of ``search_share``."""
    coefficient_epochs: int | None = None
    """Epochs before the one whose coefficient gradients count; by default 5% of the training (the
    paper's 10 of 200)."""
    subsets: Literal["nested", "all", "full"] = "nested"
    """Deployable networks besides the whole ensemble: the 1, 2, ... members with the fewest MACs
    (``nested``), ``all`` subsets, or none (``full``)."""

    metrics: ClassVar[Mapping[str, Metric | str]] = {"diversity": Metric("", "higher")}
    tried_with: ClassVar[Mapping[str, Trial]] = {
        "classification": Trial({"members": 2}),
        "detection": Trial({"members": 1}),
        "segmentation": Trial({"members": 1}),
    }
    paramwise: ClassVar[Mapping[str, Mapping[str, float]]] = {"coefficients": {"decay_mult": 0.0}}

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UserError: an option is unknown or out of range.
        """
        self._archs: list[Any] = (
            [None] * self.members if isinstance(self.members, int) else list(self.members)
        )
        if not self._archs:
            raise UserError("superweight: members must be at least 1 or a list of architectures")
        if self.bins < 1:
            raise UserError(f"superweight: bins must be at least 1, not {self.bins}")
        if not 0 < self.search_share < 1:
            raise UserError(
                "superweight: search_share is a share of the budget between 0 and 1, not "
                f"{self.search_share}"
            )
        for option, least in (("search_epochs", 1), ("coefficient_epochs", 0)):
            epochs = getattr(self, option)
            if epochs is not None and epochs < least:
                raise UserError(f"superweight: {option} must be at least {least}, not {epochs}")
        self._asked = self._read_budget()
        self._task: TaskView | None = None
        self._dense = False
        self._untrained = False

    def setup(self, task: TaskView) -> None:
        """Take the task, which builds the members.

        Raises:
            UserError: several members, and the task is no classification.
        """
        if len(self._archs) > 1 and task.family != "classification":
            raise UserError(
                f"superweight averages classifiers; for {task.family} use members: 1, a single "
                "network under a parameter budget"
            )
        self._task = task

    def prepare(self, model: BaseModel) -> BaseModel:
        """Build the members around ``model``, which becomes the first one unless archs were given.

        Returns:
            The :class:`Ensemble`; a detector or segmentor itself, on a shared backbone.

        Raises:
            UserError: the budget is too small, a member has no convolution, or a detector's or
                segmentor's backbone holds on to pretrained weights.
        """
        # Weights after the search must not depend on what was drawn while searching.
        self._seed = int(torch.randint(2**31, (), device="cpu"))
        built = self._build(model)
        self._dense = is_dense(built[0])
        members = networks(built)
        self._shapes = weight_shapes(members)
        for shapes, arch in zip(self._shapes, self._archs, strict=True):
            if not shapes:
                raise UserError(
                    f"superweight shares convolutions, and {arch or self._own_arch()} has none"
                )
        self._budget = self._asked or sum(torch.Size(s).numel() for s in self._shapes[0])
        searching = self.clusters == "search"
        if self.clusters == "per_layer":
            self._start = per_layer(self._shapes)
        elif self.clusters == "random":
            generator = np.random.default_rng(self._seed)
            self._start = random_bins(self._shapes, self.bins, generator)
        else:
            self._start = depth_bins(self._shapes, self.bins)
        backbone = self._share(members, self._start, self.coefficients != "per_layer" or searching)
        if searching:
            layers = sum(map(len, self._shapes))
            backbone.register_buffer("decision", torch.full((layers,), -1))
        if not self._dense:
            return Ensemble(backbone)
        built[0].backbone = backbone
        return built[0]

    def phases(self, model: BaseModel) -> Phases:
        """``clusters`` if they are searched for, after which all is drawn anew; then ``train``."""
        group = _GROUPINGS[self.grouping]
        if self.clusters == "search":
            whole_epoch = self.grouping == "algorithm"
            search = ClusterSearch(
                self._start,
                self._shapes,
                self.tau,
                self._budget,
                group,
                whole_epoch,
                self.search_epochs,
            )
            share, epochs = self.search_share, self.search_epochs
            # At the full rate, as in the first 20 of the paper's 200 epochs: a schedule squeezed
            # into the search would have gradients decide that are taken at its end.
            constant: dict[str, Any] = {"schedule": []}
            yield Phase("clusters", share, epochs, constant, keep=True, hooks=[search])
            self._rebuild(model)
            self._untrained = True
        hooks = []
        if self.coefficients == "search":
            hooks.append(CoefficientSearch(self.beta, group, self.coefficient_epochs))
        yield Phase(hooks=hooks)
        self._untrained = False

    def variants(self, model: BaseModel) -> Mapping[str, BaseModel]:
        """``members=N``, the whole ensemble, then subsets by rising MACs.

        Templates are the model's own tensors; the rest is copied, so that a variant holds only
        what it needs.

        Raises:
            UserError: the budget was spent on the cluster search.
        """
        if self._untrained:
            raise UserError(
                "the cluster search used up the budget and left nothing to train with: lower "
                "search_epochs or give a larger budget"
            )
        count = len(self._archs)
        if self._dense:
            return {"members=1": copied(model)}
        chosen = {f"members={count}": tuple(range(count))}
        if count > 1 and self.subsets != "full":
            assert self._task is not None
            macs = member_macs(model, self._task.example_input(1, torch.device("meta")))
            order = sorted(range(count), key=macs.__getitem__)
            if self.subsets == "nested":
                chosen |= {f"members={n}": tuple(sorted(order[:n])) for n in range(1, count)}
            else:
                subsets = [s for n in range(1, count) for s in combinations(range(count), n)]
                subsets.sort(key=lambda subset: sum(macs[number] for number in subset))
                chosen |= {f"subset={'+'.join(str(n + 1) for n in s)}": s for s in subsets}
        return {name: select_members(model, numbers) for name, numbers in chosen.items()}

    def analyse(
        self, variant: str, model: BaseModel, batches: Iterable[dict[str, Any]]
    ) -> Mapping[str, float]:
        """``diversity`` of two members or more, see :mod:`methods.superweight.ensemble`."""
        if len(model.backbone.members) < 2:
            return {}
        return {"diversity": diversity(*predictions_of_members(model, batches))}

    def _build(self, model: BaseModel | None) -> list[BaseModel]:
        """The members as plain models; the first copy of the task's own network is ``model``."""
        members = []
        for arch in self._archs:
            if arch is None and model is not None:
                members.append(model)
                model = None
            elif self._task is None:
                raise RuntimeError("setup(task) comes before prepare(model)")
            else:
                members.append(self._task.build_model(arch))
        return members

    def _share(
        self, members: Sequence[nn.Module], assignment: Assignment, shared_coefficients: bool
    ) -> Shared:
        plan = plan_banks(self._shapes, assignment, self._budget)
        kind: type[Shared] = SharedBackbone if self._dense else Members
        return share_banks(members, plan, shared_coefficients, self.init, kind)

    def _rebuild(self, model: BaseModel) -> None:
        """Fresh members on the clusters that the search decided, in the place of the old ones."""
        device = next(model.parameters()).device
        decided = iter(model.backbone.decision.tolist())
        assignment = tuple(tuple(next(decided) for _ in member) for member in self._shapes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            built = self._build(None)
            shared = self.coefficients != "per_layer"
            backbone = self._share(networks(built), assignment, shared)
        if self._dense:
            for name, part in built[0].named_children():
                model.add_module(name, part)
        model.backbone = backbone
        model.to(device)

    def _read_budget(self) -> int | None:
        """``max_params`` as a number; None for the baseline."""
        if self.max_params == "baseline":
            return None
        try:
            budget = int(float(self.max_params))  # YAML reads 36.5e6 as a string
        except ValueError:
            budget = 0
        if budget < 1:
            raise UserError(
                "superweight: max_params is 'baseline' or a number of parameters such as 36.5e6, "
                f"not {self.max_params!r}"
            )
        return budget

    def _own_arch(self) -> str:
        return self._task.arch if self._task is not None else "the network"
