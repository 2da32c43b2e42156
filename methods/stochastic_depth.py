"""Stochastic depth: residual branches dropped at random while training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mmengine.model import BaseModel
from torch import Tensor, nn
from torchvision.ops import StochasticDepth as DropBranch
from torchvision.ops import stochastic_depth

from methods.base import METHODS, Method
from methods.blocks import block_view
from tasks.errors import UserError
from tasks.registry import build

CONVOLUTIONAL_SURVIVAL = 0.8
"""Huang 2016's default for the last block."""
TRANSFORMER_SURVIVAL = 0.9


@METHODS.register("stochastic_depth")
@dataclass
class StochasticDepth(Method):
    """Residual branches dropped at random in training, more often the deeper they lie.

    Block l of L survives with probability ``1 - l / L * (1 - survival)``. A survivor is divided by
    that probability in training, where the paper multiplies by it at test time: the expectation
    is the same and the trained network is a plain one. A transformer's two branches are drawn
    each by itself. What the network brought of its own of this kind is replaced, not added to.

    Source: Huang et al. 2016, "Deep Networks with Stochastic Depth", section 3, equation 4.
    """

    survival: float | None = None
    """Of the last block, in (0, 1]; None takes 0.8 for networks of convolutions and 0.9 for
    transformers."""
    mode: Literal["row", "batch"] = "row"
    """``row`` draws for each image; ``batch`` once for all, as the paper does."""

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UserError: an option is out of range.
        """
        if self.survival is not None and not 0 < self.survival <= 1:
            raise UserError(
                "survival is a probability above 0 and at most 1 (1 drops nothing), "
                f"not {self.survival}"
            )

    def prepare(self, model: BaseModel) -> BaseModel:
        """Attach the drops in place; parameters and their names stay as they are.

        Raises:
            UserError: no block of the backbone has a residual branch.
        """
        apply_stochastic_depth(model, self.survival, self.mode)
        return model


def apply_stochastic_depth(
    model: nn.Module, survival: float | None = None, mode: Literal["row", "batch"] = "row"
) -> None:
    """Make the residual branches of a network drop at random in training, in place.

    >>> apply_stochastic_depth(torchvision.models.resnet50(), survival=0.8)

    Args:
        model: a backbone with a block view, or a model with one as ``backbone``.
        survival: as of :class:`StochasticDepth`, like ``mode``.
        mode: ``row`` or ``batch``.

    Raises:
        UserError: an option is wrong, or no block of the backbone has a residual branch.
    """
    options = {"survival": survival, "mode": mode}
    build("stochastic_depth", StochasticDepth, options)  # checks them
    view = block_view(model)
    if not any(block.branch_ends for block in view):
        raise UserError("stochastic_depth needs residual branches, and the network has none")
    for block in view:
        last = survival or (
            TRANSFORMER_SURVIVAL if block.kind in ("vit", "swin") else CONVOLUTIONAL_SURVIVAL
        )
        probability = block.number / len(view) * (1 - last)
        for end in block.branch_ends:
            drop_output(end, probability, mode, block.module)


def drop_output(end: nn.Module, probability: float, mode: str, block: nn.Module) -> None:
    """Make the last module of a residual branch of ``block`` drop its output in training."""
    if isinstance(end, DropBranch):
        end.p, end.mode = probability, mode
        return
    if hasattr(end, "drop_prob"):
        end.drop_prob = 0.0  # mmcv's DropPath, which knows no mode: the hook does its work
    end.register_forward_hook(DropHook(probability, mode, block))


@dataclass
class DropHook:
    """A forward hook that drops the output; an object, so that it can be copied and pickled."""

    probability: float
    mode: str
    block: nn.Module = field(repr=False)
    """Says whether training is on: the hooked norm layer may be frozen in evaluation mode."""

    def __call__(self, module: nn.Module, inputs: tuple[object, ...], output: Tensor) -> Tensor:
        """The output (N, ...), some rows or all of it zero and the rest scaled up."""
        return stochastic_depth(output, self.probability, self.mode, self.block.training)
