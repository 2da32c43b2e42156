"""Template banks: where the weights of all members' convolutions come from."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from math import prod, sqrt

import torch
from torch import Tensor, nn

from methods.superweight.allocation import BlockPlan
from methods.superweight.chain import Shape
from methods.synthesis import Recipe

INITS = ("layer_kaiming", "official")
_OFFICIAL_DEVIATION = sqrt(2 / 9)


class GradientSums:
    """Gradients of tensors inside a network, summed over backward passes by key."""

    def __init__(self) -> None:
        self.sums: dict[Hashable, Tensor] = {}

    def watch(self, key: Hashable, tensor: Tensor) -> None:
        """Add the gradient that ``tensor`` will get in the coming backward pass."""
        if tensor.requires_grad:
            tensor.register_hook(self._adder(key))

    def _adder(self, key: Hashable) -> Callable[[Tensor], None]:
        def add(gradient: Tensor) -> None:
            # A step that a loss scaler throws away has infinite gradients.
            gradient = gradient.detach().float().nan_to_num(0.0, 0.0, 0.0)
            self.sums[key] = self.sums[key] + gradient if key in self.sums else gradient

        return add


class BlockBank(nn.Module):
    """Templates of one block, and the coefficients of the layers that contain it.

    The value for layer use u is ``sum_c coefficients[rows[u], c] * templates[c]``. Uses with the
    same row share their coefficients.

    Args:
        size: elements of the block.
        templates: how many templates.
        uses: layers that contain the block.
        shared: all uses start with one row; else each has its own.
    """

    rows: Tensor

    def __init__(self, size: int, templates: int, uses: int, shared: bool = False) -> None:
        super().__init__()
        self.templates = nn.Parameter(torch.empty(templates, size))
        self.coefficients = nn.Parameter(torch.zeros(uses, templates))
        rows = torch.zeros(uses, dtype=torch.long) if shared else torch.arange(uses)
        self.register_buffer("rows", rows)
        self.watched: GradientSums | None = None
        """Where the gradient of each use's coefficients is summed, if anywhere."""

    def extra_repr(self) -> str:
        """Sizes, as ``repr`` shows them."""
        templates, size = self.templates.shape
        return f"size={size}, templates={templates}, uses={len(self.rows)}"

    def value(self, use: int) -> Tensor:
        """The block for one use, flat (size,)."""
        mixture = self.coefficients.index_select(0, self.rows[use : use + 1])
        if self.watched is not None:
            self.watched.watch(use, mixture)
        return (mixture @ self.templates)[0]


class Composition(Recipe):
    """The weight of one layer: blocks 0 to its rank, put together in the order of the chain.

    Args:
        parts: for each block its plan, its bank, and the layer's use number there.
    """

    def __init__(self, parts: list[tuple[BlockPlan, BlockBank, int]]) -> None:
        self.extensions = [plan.extension for plan, _, _ in parts]
        self.banks = [bank for _, bank, _ in parts]
        self.uses = [use for _, _, use in parts]
        self.watched: GradientSums | None = None
        """Where the weight's gradient is summed, if anywhere."""

    def ingredients(self) -> list[Tensor]:
        """Templates, coefficients and rows of every block."""
        return [t for bank in self.banks for t in (bank.templates, bank.coefficients, bank.rows)]

    def compose(self) -> Tensor:
        """The weight, in the templates' own precision whatever autocast says."""
        weight: Tensor | None = None
        with _without_autocast(self.banks[0].templates.device.type):
            for extension, bank, use in zip(self.extensions, self.banks, self.uses, strict=True):
                weight = extension.apply(weight, bank.value(use))
        assert weight is not None
        if self.watched is not None:
            self.watched.watch(0, weight)
        return weight


def make_bank(
    plan: BlockPlan, shapes: dict[tuple[int, int], Shape], shared: bool, init: str
) -> BlockBank:
    """A bank for a block, initialised.

    Coefficients are orthogonal rows, drawn for each member by itself. ``layer_kaiming`` draws
    templates at the Kaiming deviation of the block's own shape and gives every row the length
    that brings its layer's weight to the layer's Kaiming deviation; a row that all layers share
    has the quadratic mean of these lengths. ``official`` does as the
    official code: templates at the deviation of a fan-in of 9, rows as they come out.

    Args:
        plan: the block.
        shapes: weight shapes of the layers by (member, layer).
        shared: one coefficient vector for all layers.
        init: one of ``INITS``.
    """
    bank = BlockBank(plan.extension.size, plan.templates, len(plan.users), shared)
    own = _deviation(plan.extension.target)
    nn.init.normal_(bank.templates, std=own if init == "layer_kaiming" else _OFFICIAL_DEVIATION)
    wanted = [_deviation(shapes[user]) / own for user in plan.users]
    if shared:
        wanted = [sqrt(sum(length**2 for length in wanted) / len(wanted))] * len(wanted)
    with torch.no_grad():
        for member in {member for member, _ in plan.users}:
            uses = [n for n, user in enumerate(plan.users) if user[0] == member]
            rows = nn.init.orthogonal_(torch.empty(len(uses), plan.templates))
            if init == "layer_kaiming":
                lengths = torch.tensor([wanted[n] for n in uses])
                rows = nn.functional.normalize(rows) * lengths[:, None]
            bank.coefficients[uses] = rows
    return bank


def _without_autocast(device: str) -> AbstractContextManager[None]:
    # The meta device, where shapes and operations are counted, has no autocast to switch off.
    available = torch.amp.is_autocast_available(device)
    return torch.autocast(device, enabled=False) if available else nullcontext()


def _deviation(shape: Shape) -> float:
    return sqrt(2 / prod(shape[1:]))
