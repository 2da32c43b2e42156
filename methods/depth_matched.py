"""The same network less some blocks: the control for any claim about reduced depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mmengine.model import BaseModel

from methods.base import METHODS, Method
from methods.blocks import block_view, has_matching_neighbours, select_blocks
from tasks.errors import UserError


@METHODS.register("depth_matched")
@dataclass
class DepthMatched(Method):
    """The blocks that replacement would replace, removed without a surrogate.

    Each chosen block gives way to the identity, so that the difference to ``replacement`` is what
    its operators add, and the difference to ``end_to_end`` what the depth is worth.

    Attributes:
        every: every k-th block of the backbone, counted over all stages.
        blocks: block numbers (from 1) instead of every k-th.
        boundary: what becomes of a wanted block that its neighbours do not match in weight
            shapes: ``shift`` to the nearest of its stage that they do, or ``keep`` it.
    """

    every: int = 4
    blocks: Sequence[int] | None = None
    boundary: str = "shift"

    def prepare(self, model: BaseModel) -> BaseModel:
        """Drop the chosen blocks in place.

        Raises:
            UserError: no block of the backbone fits.
        """
        view = block_view(model)
        fits = partial(has_matching_neighbours, view)
        chosen = select_blocks(view, self.every, self.blocks, fits, self.boundary)
        if not chosen:
            raise UserError(
                f"depth_matched would remove nothing: of the {len(view)} blocks none that was "
                "asked for lies between two of its own shape; give other blocks=[...] or a "
                "deeper network"
            )
        for block in chosen:
            block.drop()
        return model
