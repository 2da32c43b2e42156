"""Which blocks a method acts on: every k-th, moved to where it fits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, get_args

from torch import nn

from methods.blocks.view import Block, BlockView
from tasks.errors import UserError, unknown_name

logger = logging.getLogger(__name__)

Boundary = Literal["shift", "keep"]
"""What becomes of a wanted block that does not fit: it moves, or it is left out."""


def select_blocks(
    view: BlockView,
    every: int = 4,
    blocks: Sequence[int] | None = None,
    fits: Callable[[Block], bool] = lambda block: block.shape_preserving,
    boundary: Boundary = "shift",
) -> list[Block]:
    """Choose blocks ``every``, ``2 * every``, ... or those numbered in ``blocks`` (from 1).

    Every chosen block fits and no two are adjacent. A wanted block that fits is chosen, unless it
    is next to a lower one that is. With ``boundary="shift"`` each of the others moves to the
    nearest block of its stage that fits and is free (of two equally near, the lower number); one
    that finds no place is left out and logged. With ``"keep"`` none moves.

    Raises:
        UserError: ``every`` is no number of blocks, or a number or boundary does not exist.
    """
    if boundary not in get_args(Boundary):
        raise unknown_name("boundary", boundary, get_args(Boundary))
    wanted = [view.block(number) for number in _wanted(view, every, blocks)]
    chosen: set[int] = set()

    def free(block: Block) -> bool:
        return chosen.isdisjoint({block.number - 1, block.number, block.number + 1})

    astray = []
    for block in wanted:
        if fits(block) and free(block):
            chosen.add(block.number)
        else:
            astray.append(block)
    for block in astray:
        places = view.stages[block.stage - 1] if boundary == "shift" else []
        places = [place for place in places if fits(place) and free(place)]
        if not places:
            logger.warning("block %d left out: its stage has no free place that fits", block.number)
            continue
        nearest = min(places, key=lambda place: (abs(place.number - block.number), place.number))
        logger.info("block %d does not fit: moved to block %d", block.number, nearest.number)
        chosen.add(nearest.number)
    return [view.block(number) for number in sorted(chosen)]


def _wanted(view: BlockView, every: int, blocks: Sequence[int] | None) -> list[int]:
    if blocks is not None:
        return sorted(set(blocks))
    if not isinstance(every, int) or every < 1:
        raise UserError(f"every must be a whole number of at least 1, not {every}")
    return list(range(every, len(view) + 1, every))


def has_matching_neighbours(
    view: BlockView, block: Block, roles: Iterable[str] | None = None
) -> bool:
    """Whether the blocks before and after, in the same stage, have the block's weight shapes.

    Such a position is *clean*: the block's weights can be built from its neighbours', role by
    role. ``roles`` limits the comparison; None compares all. The block itself must keep the
    feature map's shape.
    """
    before, after = view.neighbours(block)
    if before is None or after is None or not block.shape_preserving:
        return False
    names = None if roles is None else set(roles)
    shapes = _weight_shapes(block, names)
    return bool(shapes) and all(_weight_shapes(other, names) == shapes for other in (before, after))


def _weight_shapes(block: Block, roles: set[str] | None) -> dict[str, dict[str, tuple[int, ...]]]:
    return {
        role: _shapes(layer)
        for role, layer in block.roles.items()
        if roles is None or role in roles
    }


def _shapes(layer: nn.Module) -> dict[str, tuple[int, ...]]:
    # Not recursive: attention's in_proj is one role, the out_proj inside it another.
    return {name: tuple(weight.shape) for name, weight in layer.named_parameters(recurse=False)}
