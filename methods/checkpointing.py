"""Activation checkpointing: memory for time, the result unchanged."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from methods.base import METHODS, Method
from methods.blocks import BlockView, block_view
from tasks.errors import UserError
from tasks.registry import build


@METHODS.register("checkpointing")
@dataclass
class Checkpointing(Method):
    """Activations inside blocks thrown away in the forward pass and computed again for backward.

    A segment of consecutive blocks keeps its input alone. Outputs, gradients and running
    statistics are those of plain training; evaluation is untouched. Where the network has this as
    an option of its own (``with_cp``), that is switched off.

    Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", section 4.
    """

    every: int = 1
    """Blocks in a segment; a segment ends with its stage. About the square root of the number of
    blocks keeps least."""

    not_compiled = (
        "torch.compile cannot trace the context that keeps running statistics as they are while "
        "activations are computed again"
    )

    def __post_init__(self) -> None:
        """Check the option.

        Raises:
            UserError: ``every`` is no number of blocks.
        """
        if self.every < 1:
            raise UserError(
                f"every (blocks a segment) must be a whole number of at least 1, not {self.every}"
            )

    def prepare(self, model: BaseModel) -> BaseModel:
        """Give the containers of blocks, or the blocks, a forward that checkpoints, in place.

        Raises:
            UserError: blocks in a plain list were to make segments of several.
        """
        apply_checkpointing(model, self.every)
        return model


def apply_checkpointing(model: nn.Module, every: int = 1) -> None:
    """Give the containers of blocks, or the blocks, a forward that checkpoints, in place.

    >>> apply_checkpointing(torchvision.models.resnet50(), every=2)

    Args:
        model: a backbone with a block view, or a model with one as ``backbone``.
        every: blocks in a segment.

    Raises:
        UserError: blocks in a plain list were to make segments of several.
    """
    build("checkpointing", Checkpointing, {"every": every})  # checks it
    view = block_view(model)
    for block in view:
        if getattr(block.module, "with_cp", False):
            block.module.with_cp = False
    for parent, segments in _segments(view, every).items():
        if isinstance(parent, nn.Sequential):
            parent.forward = SegmentedForward(parent, segments)
            continue
        if every > 1:
            # What calls the blocks of a list one by one cannot be made to call a segment.
            raise UserError(
                f"checkpointing: every={every} needs blocks in an nn.Sequential, and "
                f"those of {type(view.backbone).__name__} hang in a {type(parent).__name__}; "
                "use every=1"
            )
        for (key,) in segments:
            block = parent.get_submodule(key)
            block.forward = CheckpointedForward(block)


def _segments(view: BlockView, every: int) -> dict[nn.Module, list[list[str]]]:
    """Container to the keys of its blocks, segment by segment."""
    segments: dict[nn.Module, list[list[str]]] = {}
    for stage in view.stages:
        for parent, run in groupby(stage, key=lambda block: block.parent):
            keys = [block.key for block in run]
            children = list(parent._modules)
            for start in range(0, len(keys), every):
                first, last = keys[start], keys[start : start + every][-1]
                # From first to last child, so that whatever lies between keeps its place.
                segment = children[children.index(first) : children.index(last) + 1]
                segments.setdefault(parent, []).append(segment)
    return segments


@dataclass
class SegmentedForward:
    """The forward of a Sequential in which some runs of children are checkpointed.

    It hangs on the instance instead of wrapping the blocks, so that no parameter changes its
    name; and it is an object, so that the model can be copied and pickled.
    """

    container: nn.Sequential
    segments: list[list[str]]
    """Keys of the children of each segment."""

    def __call__(self, x: Tensor) -> Tensor:
        """What the Sequential gives for ``x``."""
        if not (self.container.training and torch.is_grad_enabled()):
            return nn.Sequential.forward(self.container, x)
        children = self.container._modules
        starts = {keys[0]: keys for keys in self.segments}
        inside = {key for keys in self.segments for key in keys}
        for key, child in children.items():
            if key in starts:
                segment = [children[key] for key in starts[key]]
                x = recomputed(in_turn(segment), segment, x)
            elif key not in inside:
                x = child(x)
        return x


@dataclass
class CheckpointedForward:
    """The forward of a checkpointed block that hangs in a plain list; see `SegmentedForward`."""

    block: nn.Module

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What the block gives for ``x`` and whatever else it is called with."""

        def plain(x: Tensor) -> Tensor:
            return type(self.block).forward(self.block, x, *args, **kwargs)

        if not (self.block.training and torch.is_grad_enabled()):
            return plain(x)
        return recomputed(plain, [self.block], x)


def in_turn(segment: list[nn.Module]) -> Callable[[Tensor], Tensor]:
    """A function that runs its argument through the modules."""

    def run(x: Tensor) -> Tensor:
        for module in segment:
            x = module(x)
        return x

    return run


def recomputed(run: Callable[[Tensor], Tensor], modules: list[nn.Module], x: Tensor) -> Tensor:
    """``run(x)``, which uses ``modules``, keeping only ``x`` for the backward pass."""

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), RunningStatisticsKept(modules)

    return checkpoint(run, x, use_reentrant=False, context_fn=contexts)


class RunningStatisticsKept:
    """A context in which norm layers run on copies of their statistics: it leaves no trace.

    Switching ``track_running_stats`` off instead would change which tensors the layer saves for
    backward, which the checkpoint compares. It may be entered again, once for each backward pass.
    """

    def __init__(self, segment: list[nn.Module]) -> None:
        self._norms = [
            module
            for part in segment
            for module in part.modules()
            if getattr(module, "track_running_stats", False)
        ]
        self._kept: list[dict[str, Tensor | None]] = []

    def __enter__(self) -> None:
        self._kept = [dict(norm._buffers) for norm in self._norms]
        for norm, buffers in zip(self._norms, self._kept, strict=True):
            copies = {name: None if b is None else b.clone() for name, b in buffers.items()}
            norm._buffers.update(copies)

    def __exit__(self, *error: object) -> None:
        for norm, buffers in zip(self._norms, self._kept, strict=True):
            norm._buffers.update(buffers)
