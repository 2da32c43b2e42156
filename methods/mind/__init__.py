"""MIND: blocks that run to a fixed point where a small network says that an image needs it.

Source: Mathur, Pearlmutter and Plis 2025, "MIND over Body: Adaptive Thinking using Dynamic
Computation" (ICLR). There is no official code; what the paper leaves open is said where it is
decided: the norm control in ``spectral.py``, the gradients in ``iterating.py``, the features and
the loss in ``controller.py``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from mmengine.model import BaseModel
from torch import Tensor

from methods.base import METHODS, Method, Phase, Phases
from methods.blocks import Block, BlockView, block_view
from methods.curves import Curve, stale_epochs
from methods.dense import is_dense
from methods.mind.controller import Controller, Outcome, Pass
from methods.mind.iterating import wrap
from tasks.errors import UserError
from tasks.metric import Metric

if TYPE_CHECKING:
    from tasks.base import TaskView

PRESETS = {"practical": (1e-3, 8), "paper": (1e-5, 100)}
"""Epsilon and K_max by name."""


@METHODS.register("mind")
@dataclass
class Mind(Method):
    """MIND: chosen blocks iterate to a fixed point, image by image, as long as it takes.

    A plain pass feeds an introspection network that chooses blocks for each image; a second pass
    iterates those. No parameter is saved and a training step costs more than a plain one.

    Of a detector or segmentor the backbone is changed: the mask is one an image, batch norms are
    frozen and the introspection loss joins the losses of the heads.
    """

    metrics: ClassVar[Mapping[str, Metric | str]] = {
        "selection_rate": Metric("%", "", "layers iterated"),
        "iterations": Metric("count", "lower", "iterations, mean"),
        "non_converged": Metric("%", "lower", "not converged"),
        "macs_of_choices": Metric("MAC/image", "lower", "MACs of the choices", "M", 1e6),
    }
    not_compiled = "what is computed is chosen in every step, which breaks the graph into dozens"

    blocks: Sequence[int] | None = None
    """Blocks that can be iterated, numbered from 1; None takes all that keep their shape."""
    preset: Literal["practical", "paper"] = "practical"
    """``practical`` (epsilon 1e-3, 8 steps at most) or ``paper`` (1e-5, 100)."""
    epsilon: float | None = None
    """Relative change at which an image has converged; None takes the preset's."""
    k_max: int | None = None
    """Steps at most; None takes the preset's."""
    norm_control: Literal["spectral", "damping", "none"] | None = None
    """What makes iterations converge. ``spectral`` scales the residual branch in every pass, so
    that its Lipschitz constant is at most ``norm``; ``damping`` leaves the branch as it is, as
    pretrained weights need, and averages a step with the one before; ``none`` is a control. None
    takes ``damping`` for detection and segmentation and ``spectral`` else."""
    norm: float = 0.9
    """The largest Lipschitz constant that ``norm_control=spectral`` allows, below 1."""
    damping: float = 0.5
    """Weight of a step under ``norm_control=damping``, above 0 and at most 1."""
    selection: Literal["gumbel", "nested"] = "gumbel"
    """``gumbel``: each block by itself. ``nested``: one of the sets of the first 0, 1, ... L."""
    mode: Literal["learned", "none", "fixed", "random"] = "learned"
    """Who chooses. Controls: ``none`` iterates nothing, ``fixed`` takes exactly ``k_max`` steps in
    every block, ``random`` chooses blocks at ``rate``."""
    rate: float = 0.5
    """Share of blocks that ``mode=random`` iterates; give it the learned run's selection rate."""
    lam: float = 0.6
    """Weight of the introspection loss."""
    beta: float = 0.2
    """Weight of the executed cost in it."""
    gamma: float = 0.2
    """Weight of the chosen blocks, each times its ``layer_weights``."""
    delta: float = 0.1
    """Weight of the number of chosen blocks."""
    layer_weights: Sequence[float] | None = None
    """A number for each wrapped block; None takes its share of the multiply-adds."""
    temperature: float = 1.0
    """Of the relaxed choice in training."""
    compaction: bool = True
    """Compute only the images that still move; False gives the same result, slower."""
    freeze_norms: bool | None = None
    """Keep batch norms in evaluation mode; None does so for detection and segmentation."""
    early_stop: int | None = None
    """Epochs without a better validation that end training; None goes on as long as the budget."""

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UserError: a number is out of range.
        """
        epsilon, k_max = self.limits
        for option, fine, meaning in (
            ("epsilon", epsilon > 0, "above 0"),
            ("k_max", k_max >= 1, "at least 1"),
            ("norm", 0 < self.norm < 1, "between 0 and 1: at 1 iterations need not converge"),
            ("damping", 0 < self.damping <= 1, "above 0 and at most 1"),
            ("rate", 0 <= self.rate <= 1, "from 0 to 1"),
            ("temperature", self.temperature > 0, "above 0"),
            ("early_stop", self.early_stop is None or self.early_stop >= 1, "at least 1"),
        ):
            if not fine:
                raise UserError(f"mind: {option} must be {meaning}, not {getattr(self, option)}")
        self._dense, self._metric = False, "top1"

    @property
    def limits(self) -> tuple[float, int]:
        """Epsilon and K_max, with the preset's where none is given."""
        epsilon, k_max = PRESETS[self.preset]
        return (
            epsilon if self.epsilon is None else self.epsilon,
            k_max if self.k_max is None else self.k_max,
        )

    def setup(self, task: TaskView) -> None:
        """Know detectors and segmenters, whose batches are small and weights pretrained."""
        self._dense, self._metric = task.family in ("detection", "segmentation"), task.headline

    def phases(self, model: BaseModel) -> Phases:
        """One phase, which may end early."""

        def stale(curve: Curve) -> bool:
            return stale_epochs(curve, self._metric) >= (self.early_stop or math.inf)

        yield Phase(stop=stale if self.early_stop else None)

    def prepare(self, model: BaseModel) -> BaseModel:
        """Wrap the blocks in place and add the introspection network as ``model.mind``.

        Names of the backbone's parameters stay as they are.

        Raises:
            UserError: a named block changes the feature map, no block keeps it, or blocks
                checkpoint themselves.
        """
        view = block_view(model)
        wrapped = self._wrapped(view)
        if any(getattr(block.module, "with_cp", False) for block in wrapped):
            raise UserError(
                "mind: the backbone checkpoints its blocks, which would compute them again without "
                "what iterating adds; set its option with_cp=false"
            )
        if self.layer_weights is not None and len(self.layer_weights) != len(wrapped):
            raise UserError(
                f"mind: layer_weights has {len(self.layer_weights)} numbers, but "
                f"{len(wrapped)} blocks are wrapped"
            )
        dense = self._dense or is_dense(model)
        control = self.norm_control or ("damping" if dense else "spectral")
        model.mind = Controller(self, view, wrapped, control)
        wrap(model, model.mind, dense if self.freeze_norms is None else self.freeze_norms)
        return model

    def variants(self, model: BaseModel) -> Mapping[str, BaseModel]:
        """``full``, and of a learned mask the same weights under two controls.

        The difference to ``mask=none`` is what iterating is worth, to ``mask=fixed`` (``k_max``
        steps in every wrapped block) what choosing is.
        """
        found = {"full": model}
        if self.mode == "learned":
            found["mask=none"] = with_mode(model, "none")
            found["mask=fixed"] = with_mode(model, "fixed")
        return found

    def analyse(
        self, variant: str, model: BaseModel, batches: Iterable[dict[str, Any]]
    ) -> Mapping[str, float]:
        """What was iterated, and accuracy by difficulty: :func:`executed_work`."""
        return executed_work(model, batches)

    def _wrapped(self, view: BlockView) -> list[Block]:
        fitting = [block for block in view if block.shape_preserving and block.branch_ends]
        if not fitting:
            raise UserError(
                "mind needs residual blocks that keep the shape of the feature map, and the "
                "network has none; take a deeper one"
            )
        if self.blocks is None:
            return fitting
        numbers = {block.number for block in fitting}
        for number in self.blocks:
            if view.block(number).number not in numbers:
                raise UserError(
                    f"mind: block {number} cannot be iterated, for it changes the feature map or "
                    f"has no shortcut; those that can are {', '.join(map(str, sorted(numbers)))}"
                )
        if not self.blocks:
            raise UserError("mind: blocks is empty; give block numbers, or leave it out for all")
        return [view.block(number) for number in sorted(set(self.blocks))]


def with_mode(model: BaseModel, mode: str) -> BaseModel:
    """A copy that chooses by a control instead of its introspection network."""
    copied = copy.deepcopy(model)
    copied.mind.options = replace(copied.mind.options, mode=mode)
    copied.mind.introspection = None
    return copied


TERCILES = ("easy", "medium", "hard")


@torch.inference_mode()
def executed_work(model: BaseModel, batches: Iterable[dict[str, Any]]) -> dict[str, float]:
    """What was iterated on the test set, in all and by difficulty.

    Difficulty is the entropy of the prediction; its terciles are ``@easy``, ``@medium`` and
    ``@hard``, and exist where the model predicts one class an image. The harness measures the
    executed multiply-adds; here they are worked out from the choices, for the terciles alone.

    Returns:
        ``selection_rate``, the chosen blocks in % of those that could be; ``iterations``, the mean
        steps of a chosen block, and ``non_converged``, the chosen blocks in % that ended before
        they stood still (both absent when nothing was chosen); by difficulty also ``top1`` in %
        and ``macs_of_choices``, the mean multiply-adds that follow from the choices. Means over
        the windows of a segmentor that looks at an image through a sliding one. Terciles are NaN
        where a logit is NaN or infinite, which has no entropy.
    """
    passes, predictions = [], []
    for batch, done, out in executed(model, batches):
        passes.append(done)
        if isinstance(out, Tensor) and out.dim() == 2:
            predictions.append((out.float(), batch["data_samples"].to(out.device)))
    done = together(passes)
    found = work(done)
    if predictions and len(done.macs) >= len(TERCILES):
        logits, labels = (torch.cat(part) for part in zip(*predictions, strict=True))
        finite = bool(logits.isfinite().all())
        right = (logits.argmax(1) == labels).double().cpu()
        for tercile, rows in zip(TERCILES, terciles(logits), strict=True):
            part = Pass(Outcome(*(each[rows] for each in done.outcome)), done.macs[rows])
            values = {
                "top1": 100 * float(right[rows].mean()),
                "macs_of_choices": float(part.macs.mean()),
                **work(part),
            }
            for metric, value in values.items():
                found[f"{metric}@{tercile}"] = value if finite else nan
    return found


def executed(
    model: BaseModel, batches: Iterable[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], Pass, Any]]:
    """Each batch with what the backbone's passes over it executed, windows summed, and the output.

    Outcomes of several windows follow each other.
    """
    controller: Controller = model.mind
    for batch in batches:
        with controller.watched() as passes:
            out = model.test_step(batch)
        macs = torch.stack([each.macs for each in passes]).sum(0)
        outcomes = [each.outcome for each in passes]
        yield batch, Pass(Outcome(*map(torch.cat, zip(*outcomes, strict=True))), macs), out


def together(passes: Sequence[Pass]) -> Pass:
    """Passes over several batches as one."""
    outcomes = zip(*(each.outcome for each in passes), strict=True)
    return Pass(Outcome(*map(torch.cat, outcomes)), torch.cat([each.macs for each in passes]))


def work(done: Pass) -> dict[str, float]:
    """How often and how long blocks were iterated, on average over some images."""
    chosen, iterations, converged = done.outcome
    count = int(chosen.sum())
    found = {"selection_rate": 100 * float(chosen.double().mean())}
    if count:
        found["iterations"] = float(iterations[chosen].double().mean())
        found["non_converged"] = 100 * int((chosen & ~converged).sum()) / count
    return found


def terciles(logits: Tensor) -> list[Tensor]:
    """Indices of the images in three equal parts by rising entropy, from logits (N, classes)."""
    log_probabilities = logits.double().log_softmax(1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(1)
    return list(entropy.cpu().argsort(stable=True).tensor_split(3))
