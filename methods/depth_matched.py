"""The same network less some blocks: the control for any claim about reduced depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import nn

from methods.base import METHODS, Method
from methods.blocks import Block, Boundary, block_view, has_matching_neighbours, select_blocks
from tasks.errors import UserError


@METHODS.register("depth_matched")
@dataclass
class DepthMatched(Method):
    """The blocks that replacement would replace, removed without a surrogate.

    Each chosen block gives way to the identity, so that the difference to ``replacement`` is what
    its operators add, and the difference to ``end_to_end`` what the depth is worth. Stages that the
    backbone keeps frozen are left whole, as replacement leaves them.
    """

    every: int = 4
    """Every k-th block of the backbone, counted over all stages."""
    blocks: Sequence[int] | None = None
    """Block numbers (from 1) instead of every k-th."""
    boundary: Boundary = "shift"
    """``shift`` moves a wanted block to the nearest of its stage whose neighbours have its weight
    shapes, as replacement does by default; ``keep`` removes exactly the blocks that are named, if
    the identity fits there, as the control of replacement's ``project`` and ``single``."""

    def __post_init__(self) -> None:
        self.removed_blocks: tuple[int, ...] = ()

    def prepare(self, model: BaseModel) -> BaseModel:
        """Drop the chosen blocks in place; ``removed_blocks`` then holds their numbers.

        Raises:
            UserError: no block of the backbone fits.
        """
        count = len(block_view(model))
        self.removed_blocks = apply_depth_matched(model, self.every, self.blocks, self.boundary)
        removed = ", ".join(map(str, self.removed_blocks))
        print_log(f"depth_matched: removed blocks {removed} of {count}", logger="current")
        return model


def apply_depth_matched(
    model: nn.Module,
    every: int = 4,
    blocks: Sequence[int] | None = None,
    boundary: Boundary = "shift",
) -> tuple[int, ...]:
    """Drop blocks of a network in place, each for the identity.

    >>> apply_depth_matched(torchvision.models.resnet34(), every=4)

    Args:
        model: a backbone with a block view, or a model with one as ``backbone``.
        every: as of :class:`DepthMatched`, like the rest.
        blocks: numbers from 1.
        boundary: ``shift`` or ``keep``.

    Returns:
        The numbers of the blocks that were dropped, as they were counted before.

    Raises:
        UserError: no block of the backbone fits.
    """
    view = block_view(model)

    def fits(block: Block) -> bool:
        if block.frozen:
            return False
        return block.shape_preserving and (
            boundary == "keep" or has_matching_neighbours(view, block)
        )

    chosen = select_blocks(view, every, blocks, fits, boundary)
    if not chosen:
        raise UserError(
            f"depth_matched would remove nothing: of the {len(view)} blocks none that was "
            "requested can be removed; give other blocks=[...], boundary=keep or a deeper network"
        )
    for block in chosen:
        block.drop()
    return tuple(block.number for block in chosen)
