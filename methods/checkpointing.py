"""Activation checkpointing: memory for time, the result unchanged."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from methods.base import METHODS, Method
from methods.blocks import block_view
from tasks.errors import UserError


@METHODS.register("checkpointing")
@dataclass
class Checkpointing(Method):
    """Activations inside blocks thrown away in the forward pass and computed again for backward.

    A segment of consecutive blocks keeps its input alone. Outputs, gradients and running
    statistics are those of plain training; evaluation is untouched.

    Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", section 4.

    Attributes:
        every: blocks in a segment; a segment ends with its stage. About the square root of the
            number of blocks keeps least.
    """

    every: int = 1

    def __post_init__(self) -> None:
        """Check the option.

        Raises:
            UserError: ``every`` is no number of blocks.
        """
        if not isinstance(self.every, int) or self.every < 1:
            raise UserError(
                f"every (blocks a segment) must be a whole number of at least 1, not {self.every}"
            )

    def prepare(self, model: BaseModel) -> BaseModel:
        """Give the containers of blocks a forward that checkpoints, in place.

        Raises:
            UserError: the blocks do not hang in ``nn.Sequential`` containers.
        """
        for parent, segments in self._segments(model).items():
            if not isinstance(parent, nn.Sequential):
                raise UserError(
                    "checkpointing needs blocks that hang in an nn.Sequential, not in a "
                    f"{type(parent).__name__}; use the network's own option (with_cp) instead"
                )
            parent.forward = SegmentedForward(parent, segments)
        return model

    def _segments(self, model: BaseModel) -> dict[nn.Module, list[list[str]]]:
        """Container to the keys of its blocks, segment by segment."""
        segments: dict[nn.Module, list[list[str]]] = {}
        for stage in block_view(model).stages:
            for parent, run in groupby(stage, key=lambda block: block.parent):
                keys = [block.key for block in run]
                children = list(parent._modules)
                for start in range(0, len(keys), self.every):
                    first, last = keys[start], keys[start : start + self.every][-1]
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
                x = recomputed([children[key] for key in starts[key]], x)
            elif key not in inside:
                x = child(x)
        return x


def recomputed(segment: list[nn.Module], x: Tensor) -> Tensor:
    """Run ``x`` through the modules, keeping only ``x`` for the backward pass."""

    def run(x: Tensor) -> Tensor:
        for module in segment:
            x = module(x)
        return x

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), RunningStatisticsKept(segment)

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
