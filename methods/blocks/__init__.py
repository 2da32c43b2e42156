"""The block view: any supported backbone as ordered stages of residual blocks."""

from methods.blocks import mobilenet, resnet, swin, vit  # noqa: F401  (they register their views)
from methods.blocks.selection import Boundary, has_matching_neighbours, select_blocks
from methods.blocks.view import (
    Block,
    BlockView,
    Parts,
    Skip,
    block_view,
    build_view,
    register_view,
)

__all__ = [
    "Block",
    "BlockView",
    "Boundary",
    "Parts",
    "Skip",
    "block_view",
    "build_view",
    "has_matching_neighbours",
    "register_view",
    "select_blocks",
]
