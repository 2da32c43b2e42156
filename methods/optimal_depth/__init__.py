"""Optimally Deep Networks (ODN): grow the depth until the validation accuracy is good enough.

Source: "Optimally Deep Networks" (section III and algorithm 1); what the text leaves open follows
the official notebooks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from mmengine.model import BaseModel

from methods.base import METHODS, Method, Phase, Phases
from methods.optimal_depth.network import DepthNetwork, depth_network, truncate
from methods.optimal_depth.schedule import DepthSchedule, best
from tasks.errors import UserError

if TYPE_CHECKING:
    from mmengine.optim import OptimWrapper

    from tasks.base import TaskView

__all__ = ["DepthNetwork", "DepthSchedule", "OptimalDepth", "depth_network", "truncate"]

log = logging.getLogger("depthbench")
_COSINE = {"type": "CosineAnnealingLR", "begin": 0.0, "end": 1.0, "T_max": 1.0}


@METHODS.register("optimal_depth")
@dataclass
class OptimalDepth(Method):
    """Optimally Deep Networks: the first depth, from shallow to deep, that meets a target.

    All depths warm up together. Then each depth is trained from those weights until it converges;
    the first that meets the target trains on until it improves no more, and is the network.
    Depths that converged short of the target are kept beside it.

    The phases are ``warmup`` and one for each depth tried, ``depth=1``, ``depth=2``, ... The
    search at the found depth and its fine-tuning are one phase, since optimizer and learning rate
    go on from one to the other. Only the learning rate is the method's: optimizer, batch size and
    augmentation are the recipe's. The budget holds for all phases together; where it ends, so
    does the search, with the deepest network so far.
    """

    target_accuracy: float | None = None
    """Validation accuracy to reach, in %. Needed, unless ``fixed_depth`` is given."""
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
    """Control: no search; the network of this depth, trained end to end with the recipe."""

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
                f"optimal_depth: target_accuracy is in %, above 1, not {self.target_accuracy}"
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
                    f"optimal_depth: {option} must be at least {least}, not {getattr(self, option)}"
                )
        if not 0 < self.decay <= 1:
            raise UserError(f"optimal_depth: decay must be above 0 and at most 1, not {self.decay}")
        if self.fixed_depth is None:
            self.not_compiled = (
                "every depth of the search is a graph of its own, more of them than torch.compile "
                "keeps (give fixed_depth to train one)"
            )
        self._metric = "top1"
        self._of = 0
        self._found: dict[int, dict[str, torch.Tensor]] = {}
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
            UserError: the backbone has no depths to choose from, or not those asked for.
        """
        network = depth_network(model)
        self._of = len(network.blocks)
        for option in ("min_depth", "max_depth", "fixed_depth"):
            depth = getattr(self, option)
            if depth is not None and not 1 <= depth <= self._of:
                raise UserError(
                    f"optimal_depth: {option}={depth} is no depth of this network, "
                    f"which has 1 to {self._of}"
                )
        if self.min_depth > self._deepest:
            raise UserError(
                f"optimal_depth: min_depth={self.min_depth} is above max_depth={self.max_depth}"
            )
        model.backbone = network
        return model if self.fixed_depth is None else truncate(model, self.fixed_depth)

    @property
    def _deepest(self) -> int:
        return self._of if self.max_depth is None else self.max_depth

    def phases(self, model: BaseModel) -> Phases:
        """Warm-up at all depths, then depth after depth until one meets the target.

        Raises:
            UserError: with ``strict``, when none does.
        """
        if self.fixed_depth is not None or self.target_accuracy is None:
            yield Phase()
            return
        network: DepthNetwork = model.backbone
        self._found = {}
        if self.warmup_epochs:
            self._warming = True
            network.set_all_depths()
            changes = {"optimizer": {"lr": self.warmup_lr}, "schedule": [_COSINE]}
            yield Phase("warmup", epochs=self.warmup_epochs, changes=changes, keep=True)
            self._warming = False
        warm = _copied(model)
        target = self.target_accuracy - self.tolerance
        reached = None
        for depth in range(self.min_depth, self._deepest + 1):
            before = _copied(model)
            model.load_state_dict(warm)
            network.set_depth(depth)
            try:
                result = yield self._phase(depth, target)
            except GeneratorExit:  # the budget ended with the depth before
                if depth > self.min_depth:
                    model.load_state_dict(before)
                    network.set_depth(depth - 1)
                self._missed(
                    f"the search ended before a depth met the target of {target:.2f} %: it got to "
                    f"depth {network.depth} of {self._of}; give it more budget or a lower target"
                )
                return
            reached = best(result.curve, self._metric)
            if reached is not None and reached >= target:
                log.info("depth %d of %d met the target of %.2f %%", depth, self._of, target)
                return
            if self.by_products:
                self._found[depth] = _copied(truncate(model, depth))
        came = "was not validated" if reached is None else f"came to {reached:.2f} %"
        self._missed(
            f"no depth met the target of {target:.2f} % validation accuracy: the last one, "
            f"{self._deepest} of {self._of}, {came}; lower target_accuracy or raise max_depth"
        )

    def _phase(self, depth: int, target: float) -> Phase:
        schedule = DepthSchedule(self._metric, target, self.patience, self.decay_every, self.decay)
        lr = self.lr_first if depth == self.min_depth else self.lr_later
        return Phase(
            f"depth={depth}",
            changes={"optimizer": {"lr": lr}, "schedule": []},
            stop=schedule.converged,
            hooks=(schedule,),
            keep=self.by_products,
        )

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
        """The network of the depth that the search ended at, then the shallower ones it tried."""
        if not isinstance(model.backbone, DepthNetwork):
            return {f"depth={self.fixed_depth}/{self._of}": model}
        depth = model.backbone.depth
        found = {f"depth={depth}/{self._of}": truncate(model, depth)}
        for shallower in sorted(self._found.keys() - {depth}, reverse=True):
            network = truncate(model, shallower)
            network.load_state_dict(self._found[shallower])
            found[f"depth={shallower}/{self._of}"] = network
        return found

    def _missed(self, message: str) -> None:
        if self.strict:
            raise UserError(message)
        log.warning("%s", message)


def _copied(model: BaseModel) -> dict[str, torch.Tensor]:
    return {key: value.detach().clone() for key, value in model.state_dict().items()}
