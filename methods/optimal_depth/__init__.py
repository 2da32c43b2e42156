"""Optimally Deep Networks (ODN): grow the depth until the validation accuracy is good enough.

Source: "Optimally Deep Networks" (section III and algorithm 1); what the text leaves open follows
the official notebooks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from mmengine.model import BaseModel

from methods.base import METHODS, Method, Phase, Phases, Trial
from methods.curves import Curve
from methods.optimal_depth.network import (
    DepthNetwork,
    apply_optimal_depth,
    depth_network,
    truncate,
)
from methods.optimal_depth.schedule import BestWeights, DepthSchedule, Rule
from tasks.errors import UserError
from tasks.modules import copy_weights

if TYPE_CHECKING:
    from mmengine.optim import OptimWrapper

    from tasks.base import TaskView

__all__ = [
    "DepthNetwork",
    "DepthSchedule",
    "OptimalDepth",
    "apply_optimal_depth",
    "depth_network",
    "truncate",
]

log = logging.getLogger("depthbench")
_COSINE = {"type": "CosineAnnealingLR", "begin": 0.0, "end": 1.0, "T_max": 1.0}
PRESETS = {"paper": (True, 0.0), "log": (True, 0.1), "notebook": (False, 0.1)}
"""``carry_best`` and ``round_to`` by name."""
UNCONVERGED = "the budget ended before this depth had converged"


class Found(NamedTuple):
    """A depth that the search has tried."""

    weights: dict[str, torch.Tensor]
    """Of the truncated network, at its best validation."""
    best: float | None
    """Validation accuracy, in %."""
    cut: str
    """Where the budget ended its training; empty where the depth has converged."""
    missed: str = ""
    """Why it is the answer although it does not meet the target; empty where it does."""


@METHODS.register("optimal_depth")
@dataclass
class OptimalDepth(Method):
    """Optimally Deep Networks: the first depth, from shallow to deep, that meets a target.

    All depths warm up together. Then each depth is trained from those weights until it converges;
    the first that meets the target trains on until it improves no more, and is the network.
    Depths that converged short of the target are kept beside it. Each network has the weights of
    its best validation.

    The phases are ``warmup``, one for each depth tried, ``depth=1``, ``depth=2``, ..., and
    ``fine-tune``, which goes on with the optimizer and the learning rate of the depth that met the
    target. Only the learning rate is the method's: optimizer, batch size and augmentation are the
    recipe's. The budget holds for all phases together; where it ends, so does the search, whose
    answer is then the best depth that has converged, with a remark in its rows.
    """

    target_accuracy: float | None = None
    """Validation accuracy to reach, in %. Needed, unless ``fixed_depth`` is given."""
    preset: Literal["paper", "log", "notebook"] = "log"
    """How validations are compared. ``paper`` (Algorithm 1): exactly, and the best accuracy is kept
    when the depth grows. ``log`` (the printed logs of the runs of Table I): at 0.1 point during the
    search, and kept. ``notebook`` (the notebooks' present source): at 0.1 point during the search,
    and reset."""
    carry_best: bool | None = None
    """Whether the best accuracy is kept when the depth grows, so that a deeper network has to
    exceed it; None takes the preset's."""
    round_to: float | None = None
    """Points that validations are rounded to during the search, 0 for exact comparison; None takes
    the preset's."""
    tolerance: float = 0.5
    """Percentage points below the target that will do (the paper's text: 0; its notebooks: 0.5)."""
    patience: int = 23
    """Consecutive epochs without a better validation after which a depth has converged."""
    decay_every: int = 5
    """The learning rate falls after each of so many such epochs..."""
    decay: float = 0.6
    """... by this factor."""
    warmup_epochs: int = 3
    """Epochs in which all depths train together; 0 leaves the warm-up out."""
    warmup_lr: float = 0.001
    """Where the warm-up's learning rate starts; it falls by a cosine."""
    min_depth: int = 1
    """The first depth tried, in blocks."""
    max_depth: int | None = None
    """The last depth tried; None is the whole network."""
    lr_first: float = 0.01
    """Learning rate at the first depth tried."""
    lr_later: float = 0.005
    """Learning rate at the others."""
    by_products: bool = True
    """Keep the depths that converged short of the target."""
    strict: bool = False
    """Fail when no depth meets the target, instead of reporting the last one."""
    fixed_depth: int | None = None
    """Control: no search; the network of this depth, trained end to end with the recipe, with the
    weights of its best validation too."""

    # Depth 1 hardly learns and converges at once, so that there is a search and a by-product.
    tried_with: ClassVar[Mapping[str, Trial]] = {
        "classification": Trial(
            {
                "target_accuracy": 99.9,
                "warmup_epochs": 1,
                "warmup_lr": 0.05,
                "lr_first": 1e-6,
                "lr_later": 0.02,
                "patience": 1,
                "decay_every": 1,
                "max_depth": 2,
            },
            epochs=8,
        ),
        # Which `setup` refuses; here the refusal is about the task, not about a missing target.
        "detection": Trial({"fixed_depth": 1}),
        "segmentation": Trial({"fixed_depth": 1}),
    }

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UserError: the target is missing, or a number out of range.
        """
        if self.fixed_depth is None and self.target_accuracy is None:
            raise UserError(
                "optimal_depth needs target_accuracy, the validation accuracy in % that ends the "
                "search (or fixed_depth, to train one depth without a search)"
            )
        if self.target_accuracy is not None and not 1 < self.target_accuracy <= 100:
            raise UserError(
                "optimal_depth: target_accuracy must be in %, above 1 and at most 100, "
                f"got {self.target_accuracy}"
            )
        for option, least in (
            ("tolerance", 0),
            ("warmup_epochs", 0),
            ("patience", 1),
            ("decay_every", 1),
            ("min_depth", 1),
        ):
            if getattr(self, option) < least:
                raise UserError(
                    f"optimal_depth: {option} must be at least {least}, got {getattr(self, option)}"
                )
        if self.round_to is not None and not 0 <= self.round_to < 1:
            raise UserError(
                f"optimal_depth: round_to must be from 0 to below 1 point, got {self.round_to}"
            )
        if not 0 < self.decay <= 1:
            raise UserError(f"optimal_depth: decay must be above 0 and at most 1, got {self.decay}")
        if self.fixed_depth is None:
            self.not_compiled = (
                "every depth of the search is a graph of its own, more of them than torch.compile "
                "keeps (give fixed_depth to train one)"
            )
        self._metric = "top1"
        self._of = 0
        self._found: dict[int, Found] = {}
        self._answer = 0
        self._warming = False

    def setup(self, task: TaskView) -> None:
        """Learn what validation is judged by.

        Raises:
            UserError: the task is not classification.
        """
        if task.family != "classification":
            raise UserError(
                f"optimal_depth puts classifiers on blocks and has no meaning for {task.family}; "
                "use a classification task"
            )
        self._metric = task.headline

    def prepare(self, model: BaseModel) -> BaseModel:
        """Put a :class:`DepthNetwork` in the backbone's place, or one of ``fixed_depth``.

        Raises:
            UserError: the backbone has no depths to choose from, or not the requested ones.
        """
        network = depth_network(model)
        self._of = len(network.blocks)
        for option in ("min_depth", "max_depth", "fixed_depth"):
            depth = getattr(self, option)
            if depth is not None and not 1 <= depth <= self._of:
                raise UserError(
                    f"optimal_depth: {option} must be from 1 to {self._of}, the depths of this "
                    f"network, got {option}={depth}"
                )
        if self.min_depth > self._deepest:
            raise UserError(
                f"optimal_depth: min_depth={self.min_depth} is above max_depth={self.max_depth}"
            )
        model.backbone = network
        return model if self.fixed_depth is None else truncate(model, self.fixed_depth)

    @property
    def _carries(self) -> bool:
        return PRESETS[self.preset][0] if self.carry_best is None else self.carry_best

    @property
    def _rounds_to(self) -> float:
        return PRESETS[self.preset][1] if self.round_to is None else self.round_to

    @property
    def _deepest(self) -> int:
        return self._of if self.max_depth is None else self.max_depth

    def phases(self, model: BaseModel) -> Phases:
        """Warm-up at all depths, depth after depth until one meets the target, fine-tuning.

        Raises:
            UserError: with ``strict``, when none does.
        """
        if self.fixed_depth is not None or self.target_accuracy is None:
            weights = BestWeights(self._metric)
            yield Phase(stop=weights.over, hooks=(weights,))
            return
        network: DepthNetwork = model.backbone
        self._found = {}
        if self.warmup_epochs:
            self._warming = True
            network.set_all_depths()
            changes = {"optimizer": {"lr": self.warmup_lr}, "schedule": [_COSINE]}
            yield Phase("warmup", epochs=self.warmup_epochs, changes=changes, keep=True)
            self._warming = False
        warm = copy_weights(model)
        rule = self._search_rule()
        for depth in range(self.min_depth, self._deepest + 1):
            model.load_state_dict(warm)
            network.set_depth(depth)
            try:
                result = yield self._search(depth, rule)
            except GeneratorExit:  # the budget ended before
                if not self._found:  # with the warm-up
                    self._keep(model, depth, None, UNCONVERGED)
                self._end(model, rule, "ended before")
                return
            best = _best(result.curve, self._metric)
            if rule.met(result.curve):
                yield from self._fine_tuned(model, depth, best, rule.best(result.curve))
                return
            self._keep(model, depth, best, "" if rule.converged(result.curve) else UNCONVERGED)
            if self._carries and best is not None:
                rule = replace(rule, above=max(rule.above, best))
        self._end(model, rule, "ended with the last depth before")

    def _search_rule(self) -> Rule:
        assert self.target_accuracy is not None
        target = self.target_accuracy - self.tolerance
        options = self.patience, self.decay_every, self.decay, self._rounds_to
        return Rule(self._metric, *options, target=target)

    def _search(self, depth: int, rule: Rule) -> Phase:
        schedule = DepthSchedule(rule)
        lr = self.lr_first if depth == self.min_depth else self.lr_later
        return Phase(
            f"depth={depth}",
            changes={"optimizer": {"lr": lr}, "schedule": []},
            stop=schedule.over,
            hooks=(schedule,),
            keep=True,
        )

    def _fine_tuned(
        self, model: BaseModel, depth: int, best: float | None, compared: float | None
    ) -> Phases:
        """Train on at the depth that met the target, as long as validation becomes better.

        Better is exactly so, and than the search's best as it was compared there: SVHN's log ends
        its search with 95.48, and counts the 95.50 of four epochs later as no improvement.
        """
        assert best is not None
        assert compared is not None
        self._keep(model, depth, best, "the budget ended before the fine-tuning")
        rule = Rule(self._metric, self.patience, self.decay_every, self.decay, above=compared)
        schedule = DepthSchedule(rule, start=best)
        log.info("depth %d of %d met the target", depth, self._of)
        result = yield Phase(
            "fine-tune",
            changes={"schedule": []},
            stop=schedule.over,
            hooks=(schedule,),
            keep=True,
            carry_optimizer=True,
        )
        cut = "" if rule.converged(result.curve) else "the budget ended the fine-tuning"
        tuned = _best(result.curve, self._metric)
        self._keep(model, depth, best if tuned is None else max(best, tuned), cut)

    def _keep(self, model: BaseModel, depth: int, best: float | None, cut: str) -> None:
        weights = copy_weights(truncate(model, depth))
        self._found[depth] = Found(weights, best, cut)
        self._answer = depth

    def _end(self, model: BaseModel, rule: Rule, how: str) -> None:
        """A search without success: its answer is the best depth that has converged, if any.

        Raises:
            UserError: with ``strict``.
        """
        missed = f"the search {how} a depth met the target of {rule.target:.2f} %"
        converged = {d: found for d, found in self._found.items() if not found.cut}
        among = converged or self._found
        self._answer = max(among, key=lambda d: (among[d].best or 0.0, d))
        best = among[self._answer].best
        came = "was not validated" if best is None else f"came to {best:.2f} %"
        if self.strict:
            raise UserError(
                f"{missed}: depth {self._answer} of {self._of} {came} on validation; give it more "
                "budget or a lower target_accuracy, or raise max_depth"
            )
        log.warning("%s: depth %d of %d %s on validation", missed, self._answer, self._of, came)
        self._found[self._answer] = self._found[self._answer]._replace(missed=missed)

    def train_step(
        self, model: BaseModel, data: dict[str, Any], optim_wrapper: OptimWrapper
    ) -> dict[str, torch.Tensor]:
        """One batch at the depth of the phase; in the warm-up at every depth, then one step.

        In the warm-up each depth has its own forward and backward pass, the deepest first, and
        the gradients add up. The loss returned is then the mean over the depths.
        """
        if not self._warming:
            return super().train_step(model, data, optim_wrapper)
        network: DepthNetwork = model.backbone
        deepest = len(network.blocks)
        scaler = getattr(optim_wrapper, "loss_scaler", None)
        losses = []
        batch = model.data_preprocessor(data, True)
        for depth in range(deepest, 0, -1):
            network.depth = depth
            with optim_wrapper.optim_context(model):
                outputs = model(batch["inputs"], batch["data_samples"], mode="loss")
            loss, _ = model.parse_losses(outputs)
            losses.append(loss.detach())
            if depth == 1:
                break
            # The wrapper counts its own backward passes as batches: only the last one goes
            # through it.
            part = optim_wrapper.scale_loss(loss)
            (part if scaler is None else scaler.scale(part)).backward()
        optim_wrapper.update_params(loss)
        network.depth = deepest
        return {"loss": torch.stack(losses).mean()}

    def variants(self, model: BaseModel) -> Mapping[str, BaseModel]:
        """The network that the search found, then the other depths that it tried.

        Each has the weights of its best validation. The name of one whose training the budget
        ended says so: no average over seeds takes it for one that has converged.
        """
        if not isinstance(model.backbone, DepthNetwork):
            return {f"depth={self.fixed_depth}/{self._of}": model}
        others = sorted(self._found.keys() - {self._answer}, reverse=True)
        found = {}
        for depth in (self._answer, *(others if self.by_products else ())):
            network = truncate(model, depth)
            network.load_state_dict(self._found[depth].weights)
            cut = " (cut)" if self._found[depth].cut else ""
            found[f"depth={depth}/{self._of}{cut}"] = network
        return found

    def remark(self, variant: str) -> str:
        """Whether the budget or the network ended before what was requested."""
        depth = int(variant.removeprefix("depth=").partition("/")[0])
        if depth not in self._found:
            return ""
        found = self._found[depth]
        return ", and ".join(filter(None, (found.missed, found.cut)))


def _best(curve: Curve, metric: str) -> float | None:
    """The highest value on the curve; None where there is none."""
    values = [point[metric] for point in curve]
    return max((value for value in values if value is not None), default=None)
