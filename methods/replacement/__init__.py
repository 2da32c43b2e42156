"""Replacement Learning (RepL): blocks whose weights are made of their neighbours'.

Sources: "Replacement Learning" (2024, arXiv 2410.01239) for the equation ``W_i = a W_{i-1} +
b W_{i+1}``; "Replacement Learning: Training Neural Networks with Fewer Parameters" (2026, arXiv
2605.19533) for the lightweight operator. The 2026 equations were not available: what is chosen
here is an option of the method.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import nn

from methods.base import METHODS, Method
from methods.blocks import Block, BlockView, block_view, has_matching_neighbours, select_blocks
from methods.replacement.fusion import ChannelProjection
from methods.replacement.light import light_roles
from methods.replacement.surgery import (
    Fusion,
    Layers,
    export,
    full_roles,
    replace_by_full,
    replace_by_light,
    sources,
)
from tasks.errors import UserError
from tasks.registry import build

__all__ = ["Replacement", "apply_replacement", "export"]

log = logging.getLogger("depthbench")


@METHODS.register("replacement")
@dataclass
class Replacement(Method):
    """Replacement Learning: every k-th block computes with weights made of its neighbours'.

    A replaced block owns no weights, only norm layers and the coefficients of the fusion
    ``W = a * W_before + b * W_after``; see :mod:`methods.replacement.fusion`. The folded variant
    is the deployable network, with the weights made once and stored.

    In detectors and segmentors the backbone alone is changed, and no block of a frozen stage,
    where coefficients could not learn. Norm layers of replaced blocks learn their statistics even
    where the backbone keeps pretrained ones (``norm_eval``), for theirs belong to new weights.
    """

    operator: Literal["light", "full"] = "light"
    """``light``: one synthesised operator stands for the block. ``full``: the block keeps its
    structure and every weight tensor is synthesised."""
    fusion: Literal["channel", "tensor", "scalar"] = "channel"
    """What a and b are: vectors over the output channels of each tensor (``channel``), a pair of
    numbers a ``tensor``, or one pair a block (``scalar``)."""
    every: int = 4
    """Replace every k-th block, counted over the whole backbone."""
    blocks: Sequence[int] | None = None
    """Replace these blocks instead, numbered from 1."""
    boundary: Literal["shift", "project", "single"] = "shift"
    """Where a neighbour's shapes differ: ``shift`` to the nearest block of the stage with two
    matching neighbours, ``project`` the neighbour's channels, or make do with the ``single``
    neighbour that matches."""
    adjacent: bool = False
    """Light operator: take the tensors next to the gap (last convolution of the block before,
    first of the block after) instead of those of the same role."""
    detach_neighbours: bool = False
    """Neighbours get no gradient through the blocks made of them."""
    submodules: Sequence[Literal["attention", "mlp"]] = ("attention", "mlp")
    """Full operator, transformers: the halves that are synthesised."""
    submodule: Literal["attention", "mlp"] = "attention"
    """Light operator, transformers: the half that stands for the block."""
    mix: Literal["learned", "random_frozen"] = "learned"
    """``random_frozen`` is a control: a and b are drawn from U(0, 2 * init) and never learned."""
    init: float = 0.5
    """Where a and b start (a neighbour alone starts at twice that)."""

    paramwise: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "parameter_fusion": {"decay_mult": 0.0}
    }

    def __post_init__(self) -> None:
        if not self.submodules:
            raise UserError("replacement: submodules is empty; give attention, mlp or both")
        if self.every < 1:
            raise UserError(f"replacement: every must be a positive integer, not {self.every!r}")
        if self.adjacent and self.operator != "light":
            raise UserError(
                "replacement: adjacent=True is a choice of operator=light; the full operator "
                "takes every tensor from the same role"
            )
        self.replaced_blocks: tuple[int, ...] = ()

    def prepare(self, model: BaseModel) -> BaseModel:
        """Replace the chosen blocks in place; ``replaced_blocks`` then holds their numbers.

        Raises:
            UserError: the backbone has no block view, or no block of it can be replaced.
        """
        view = block_view(model)
        if self.adjacent and not any(block.kind in ("basic", "preact") for block in view):
            raise UserError(
                "replacement: adjacent=True needs blocks whose first and last layer have the same "
                f"weight shape (basic or preact), not {', '.join(sorted({b.kind for b in view}))}"
            )
        shift = self.boundary == "shift"
        chosen = select_blocks(
            view,
            every=self.every,
            blocks=self.blocks,
            fits=lambda block: self._fits(view, block),
            boundary="shift" if shift else "keep",
        )
        if not chosen:
            raise UserError(self._nothing_fits(view))
        how = Fusion(self.fusion, self.init, self.mix == "random_frozen", self.detach_neighbours)
        for block in chosen:
            before, after = self._sources(view, block)
            if self.operator == "full":
                replace_by_full(block, tuple(self._roles(block)), before, after, how)
            else:
                replace_by_light(block, self.submodule, before, after, how)
        self.replaced_blocks = tuple(block.number for block in chosen)
        _tell_projections(model)
        print_log(
            f"replacement ({self.operator}, {self.fusion} fusion): replaced blocks "
            f"{', '.join(map(str, self.replaced_blocks))} of {len(view)}",
            logger="current",
        )
        return model

    def variants(self, model: BaseModel) -> Mapping[str, BaseModel]:
        """One network, ``folded``: a copy that stores the synthesised weights."""
        return {"folded": export(model)}

    def _roles(self, block: Block) -> dict[str, tuple[str, str]]:
        """The block's synthesised roles to the roles that they are made of, before and after."""
        if self.operator == "full":
            return {role: (role, role) for role in full_roles(block, tuple(self.submodules))}
        roles = {role: (role, role) for role in light_roles(block.kind, self.submodule)}
        return dict.fromkeys(roles, ("conv2", "conv1")) if self.adjacent else roles

    def _sources(self, view: BlockView, block: Block) -> tuple[Layers | None, Layers | None]:
        return sources(view, block, self._roles(block), project=self.boundary == "project")

    def _fits(self, view: BlockView, block: Block) -> bool:
        if block.frozen:
            return False
        roles = self._roles(block)
        sides = self._sources(view, block) if roles else (None, None)
        if self.boundary == "shift":
            return None not in sides and has_matching_neighbours(view, block, roles)
        return sides != (None, None)

    def _nothing_fits(self, view: BlockView) -> str:
        fitting = [block.number for block in view if self._fits(view, block)]
        wanted = f"blocks={list(self.blocks)}" if self.blocks is not None else f"every={self.every}"
        message = f"replacement: {wanted} finds no block that can be replaced"
        if fitting:
            return f"{message}; those that can are {', '.join(map(str, fitting))}"
        where = "outside the frozen stages" if any(b.frozen for b in view) else "of this backbone"
        return (
            f"{message}, for no block {where} has two neighbours of its own weight shapes; "
            "try boundary=project or boundary=single, or a deeper backbone"
        )


def apply_replacement(model: nn.Module, **options: Any) -> tuple[int, ...]:
    """Replace blocks of a network in place; ``export`` then gives the folded network.

    >>> net = torchvision.models.resnet34()
    >>> apply_replacement(net, operator="full", every=4)
    >>> deployed = export(net)

    Args:
        model: a backbone with a block view, or a model with one as ``backbone``.
        options: of :class:`Replacement`.

    Returns:
        The numbers of the blocks that were replaced.

    Raises:
        UserError: an option is wrong, or no block of the backbone can be replaced.
    """
    method = build("replacement", Replacement, options)
    method.prepare(model)
    return method.replaced_blocks


def _tell_projections(model: BaseModel) -> None:
    """Say how many parameters ``boundary=project`` adds."""
    added = sum(
        parameter.numel()
        for module in model.modules()
        if isinstance(module, ChannelProjection)
        for parameter in module.parameters()
    )
    if added:
        log.warning(
            "replacement: the projections of boundary=project are %s parameters of their own, "
            "which take part in weight decay from their start at the identity",
            f"{added:,}",
        )
