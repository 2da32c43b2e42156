"""Methods: one file or folder each; ``base`` is the contract, ``blocks`` the view of a backbone."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from methods.base import METHODS, Method, Phase, PhaseResult

if TYPE_CHECKING:
    from methods.blocks import Block, BlockView, block_view, register_view, select_blocks

__all__ = [
    "METHODS",
    "Block",
    "BlockView",
    "Method",
    "Phase",
    "PhaseResult",
    "block_view",
    "register_view",
    "select_blocks",
]


def __getattr__(name: str) -> Any:
    # The block view needs torch, and listing the methods must not import it.
    if name in __all__:
        return getattr(importlib.import_module("methods.blocks"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
