"""Adaptive Depth Networks: one set of weights, a sub-network for every choice of stages.

Source: Kang, "Adaptive Depth Networks with Skippable Sub-Paths" (arXiv 2312.16392).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn

from methods.adaptive_depth.distillation import LOGITS, Recorder, Tap, distillation_terms
from methods.adaptive_depth.split import Stage, mandatory_norms, split_stages
from methods.adaptive_depth.subnets import (
    SkipAwareNorm,
    Skippable,
    Switch,
    export,
    select_subnets,
    stochastic_depth_off,
)
from methods.base import METHODS, Method
from methods.blocks import BlockView, block_view
from methods.dense import is_dense
from methods.step import backward
from tasks.errors import UserError

__all__ = ["AdaptiveDepth", "apply_adaptive_depth", "export"]


@METHODS.register("adaptive_depth")
@dataclass
class AdaptiveDepth(Method):
    """Adaptive depth networks: each stage has a sub-path that can be skipped after training.

    The whole network (super-net) learns from the labels, the one without skippable sub-paths
    (base-net) from the super-net, on the same batch and for the same optimizer step. The prepared
    backbone has ``set_skip(flags)``, a flag a split stage, and ``switch.skip``, the present flags;
    all False is the super-net. Each sub-network is a deployable network without fine-tuning.

    A step is two forward and two backward passes: under DistributedDataParallel it needs
    ``find_unused_parameters=True``.

    Of a detector or segmentor the backbone is changed. Its base-net is distilled in what the heads
    see, the levels of the neck (the feature pyramid, section 4.7), or, where there is no neck, in
    the ends of the backbone's stages, before norms that Swin puts on its outputs; the heads learn
    from the super-net's pass alone.
    """

    alpha: float = 0.5
    """Weight of the super-net's loss; the base-net's has ``1 - alpha``."""
    temperature: float = 1.0
    """Of the distillation; its square multiplies the loss."""
    distillation: bool = True
    """False: the base-net learns from the labels too (Table 4)."""
    feature_kl: bool | None = None
    """Compare stage outputs as well as the network's; False is the paper's outputs-only. None:
    where the backbone is convolutional, and in every detector and segmentor."""
    topk: int | Literal["auto", "all"] = "auto"
    """Compare the teacher's best classes only: a number, ``all``, or ``auto``, 500 of more than
    500."""
    skip_aware_norms: bool = True
    """False: super-net and base-net share one set of norm layers (Table 4)."""
    swin_last_mandatory: bool = False
    """Swin: the last stage always runs whole."""
    subnets: Literal["default", "all"] | Sequence[str] = "default"
    """The deployable networks: ``default`` (TFFF, TTFF, ... and FFFT, FFTT, ...), ``all``, or
    names such as ``[super, TTFT, base]``."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UserError(f"adaptive_depth: alpha must lie between 0 and 1, not {self.alpha}")
        if not self.temperature > 0:
            raise UserError(f"adaptive_depth: temperature must be above 0, not {self.temperature}")
        if isinstance(self.topk, int) and self.topk < 1:
            raise UserError(
                f"adaptive_depth: topk must be a number of classes above 0, not {self.topk}"
            )
        if self.feature_kl and not self.distillation:
            raise UserError(
                "adaptive_depth: feature_kl is a part of the distillation; leave it out, or set "
                "distillation=true"
            )

    def prepare(self, model: BaseModel) -> BaseModel:
        """Make the backbone skippable in place; it is left as the super-net.

        Raises:
            UserError: the backbone has no stage that can be split, or an option does not fit it.
        """
        view = block_view(model)
        stages = split_stages(view, self.swin_last_mandatory)
        count = sum(stage.split for stage in stages)
        select_subnets(self.subnets, count)
        if is_dense(model):
            self._check_dense()
        make_skippable(view, stages, self.skip_aware_norms)
        if self.distillation:
            convolutional = all(block.kind not in ("vit", "swin") for block in view)
            by_default = convolutional or is_dense(model)
            features = by_default if self.feature_kl is None else self.feature_kl
            attach_taps(model, view, stages, features)
        mandatory = ", ".join(str(len(stage.mandatory)) for stage in stages)
        print_log(
            f"adaptive_depth: {count} flags; mandatory blocks a stage: {mandatory}",
            logger="current",
        )
        return model

    def _check_dense(self) -> None:
        """Raise UserError for options about logits, which no detector or segmentor distils."""
        if self.distillation and self.feature_kl is False:
            raise UserError(
                "adaptive_depth: feature_kl=false leaves a detector or segmentor nothing to "
                "distil; leave it out, or set distillation=false"
            )
        if self.topk != "auto":
            raise UserError(
                "adaptive_depth: topk chooses among the classes of logits, which are not distilled "
                "in a detector or segmentor; leave it out"
            )

    def train_step(
        self, model: BaseModel, data: dict[str, Any], optim_wrapper: OptimWrapper
    ) -> dict[str, torch.Tensor]:
        """Algorithm 1 with the two backward passes of its footnote; one optimizer step.

        Returns:
            ``loss``, the weighted sum, and its parts before weighting: ``loss_super``,
            ``loss_base`` and, with distillation, ``loss_base_output`` and ``loss_base_features``.
        """
        task_model = getattr(model, "module", model)  # inside DistributedDataParallel
        backbone = task_model.backbone
        # The flags stay until the backward pass is over, for checkpointing runs blocks in it.
        with backbone.switch.all(skip=False):
            with optim_wrapper.optim_context(model), backbone.recorder.recording() as teacher:
                batch = task_model.data_preprocessor(data, True)
                losses = model(**batch, mode="loss")
            super_loss, _ = task_model.parse_losses(losses)
            backward(optim_wrapper, self.alpha * super_loss)
        with backbone.switch.all(skip=True), stochastic_depth_off(backbone):
            with optim_wrapper.optim_context(model), backbone.recorder.recording() as student:
                if not self.distillation:
                    out = model(**batch, mode="loss")
                elif is_dense(model):
                    model.extract_feat(batch["inputs"])
                else:  # a wrapped detector too, whose gradients meet in the wrapper's forward
                    model(**batch, mode="tensor")
            parts = {}
            if self.distillation:
                parts = distillation_terms(teacher, student, self.temperature, self.topk)
                base_loss = torch.stack(list(parts.values())).sum()
            else:
                base_loss, _ = task_model.parse_losses(out)
            optim_wrapper.update_params((1 - self.alpha) * base_loss)
        logged = {
            "loss": self.alpha * super_loss + (1 - self.alpha) * base_loss,
            "loss_super": super_loss,
            "loss_base": base_loss,
            **{f"loss_base_{name}": part for name, part in parts.items()},
        }
        return {name: value.detach() for name, value in logged.items()}

    def variants(self, model: BaseModel) -> Mapping[str, BaseModel]:
        """The sub-networks of ``subnets`` as plain networks that share nothing with ``model``."""
        chosen = select_subnets(self.subnets, len(model.backbone.switch.skip))
        return {name: export(model, flags) for name, flags in chosen.items()}


def apply_adaptive_depth(
    model: nn.Module, skip_aware_norms: bool = True, swin_last_mandatory: bool = False
) -> int:
    """Give the stages of a network sub-paths that can be skipped, in place.

    The backbone gets ``set_skip(flags)``, a flag a split stage; ``export(model, flags)`` gives the
    deployable network of a choice. Training it is up to the caller (Algorithm 1).

    >>> net = torchvision.models.resnet50()
    >>> apply_adaptive_depth(net)
    4
    >>> net.set_skip([True, True, True, True])  # the base-net

    Args:
        model: a backbone with a block view, or a model with one as ``backbone``.
        skip_aware_norms: as of :class:`AdaptiveDepth`, like the next.
        swin_last_mandatory: Swin: the last stage always runs whole.

    Returns:
        The number of flags.

    Raises:
        UserError: the backbone has no stage that can be split.
    """
    view = block_view(model)
    stages = split_stages(view, swin_last_mandatory)
    make_skippable(view, stages, skip_aware_norms)
    return sum(stage.split for stage in stages)


def make_skippable(view: BlockView, stages: list[Stage], skip_aware_norms: bool = True) -> None:
    """Wrap the skippable blocks and double the mandatory norms of a backbone in place.

    The backbone gets ``switch``, ``set_skip(flags)`` and ``recorder``.
    """
    switch = Switch(sum(stage.split for stage in stages))
    if skip_aware_norms:
        for place in list(mandatory_norms(view, stages)):
            norm = place.parent.get_submodule(place.path)
            place.parent.set_submodule(place.path, SkipAwareNorm(norm, switch, place.flag))
    for stage in stages:
        for block in stage.skippable:
            block.replace(Skippable(block.module, switch, stage.flag))
    view.backbone.switch = switch
    view.backbone.set_skip = switch.set_skip
    view.backbone.recorder = Recorder()


def attach_taps(model: BaseModel, view: BlockView, stages: list[Stage], features: bool) -> None:
    """Hook what is distilled.

    The network's output, unless it is a detector's or segmentor's, and with ``features`` the
    levels of the neck or, without one, the output of each split stage.
    """
    recorder = view.backbone.recorder
    neck = getattr(model, "neck", None)
    if not is_dense(model):
        view.backbone.register_forward_hook(Tap(recorder, LOGITS))
    elif isinstance(neck, nn.Module):
        neck.register_forward_hook(Tap(recorder, "level", 1))
        return
    if features:
        for stage in stages:
            if stage.split:
                channels = -1 if stage.end.kind in ("vit", "swin") else 1
                tap = Tap(recorder, f"stage{stage.flag + 1}", channels)
                stage.end.module.register_forward_hook(tap)
