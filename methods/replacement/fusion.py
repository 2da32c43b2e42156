"""The learnable transformation: two neighbouring weight tensors become a third.

``W = a * W_before + b * W_after`` (Replacement Learning, 2024, arXiv 2410.01239), where a and b are
numbers or vectors over the output channels. With ``G = dL/dW`` autograd gives ``dL/da =
<G, W_before>`` and ``dL/db = <G, W_after>``, and hands ``a * G`` and ``b * G`` to the neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.synthesis import Recipe


class Mix(nn.Module):
    """The coefficients of one fusion: ``a`` for the block before, ``b`` for the block after.

    A neighbour that is not used has no coefficient (None).

    Args:
        before: use the block before.
        after: use the block after.
        channels: coefficients a neighbour; None means a single number.
        init: where a and b start when both are used. One neighbour alone starts at ``2 * init``,
            so that the coefficients have the same sum.
        frozen: draw each coefficient from U(0, 2 * start), whose mean is the start, and never
            learn it.
    """

    a: nn.Parameter | None
    b: nn.Parameter | None

    def __init__(
        self,
        before: bool = True,
        after: bool = True,
        channels: int | None = None,
        init: float = 0.5,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        start = init if before and after else 2 * init
        shape = () if channels is None else (channels,)
        for name, used in (("a", before), ("b", after)):
            values = torch.full(shape, start)
            if used and frozen:
                values = 2 * start * torch.rand(shape)
            parameter = nn.Parameter(values, requires_grad=not frozen) if used else None
            self.register_parameter(name, parameter)

    def forward(self, before: Tensor | None, after: Tensor | None, dim: int = 0) -> Tensor:
        """Mix two tensors of one shape; a vector of coefficients runs along ``dim``."""
        terms = [
            _along(coefficient, dim, tensor) * tensor
            for coefficient, tensor in ((self.a, before), (self.b, after))
            if coefficient is not None and tensor is not None
        ]
        return terms[0] if len(terms) == 1 else terms[0] + terms[1]


def _along(coefficient: Tensor, dim: int, tensor: Tensor) -> Tensor:
    """View a vector so that it broadcasts along ``dim`` of ``tensor``; a number stays as it is."""
    if coefficient.ndim == 0:
        return coefficient
    return coefficient.view([-1 if axis == dim else 1 for axis in range(tensor.ndim)])


class ChannelProjection(nn.Module):
    """Learned 1x1 projections that bring a neighbour's layer to other widths: ``P_out W P_in``.

    Only the sides whose widths differ get a matrix. Each starts as a rectangular identity: shared
    channels pass, channels that only the wider side has start at zero.

    Args:
        shape: shape of the neighbour's weight, ``(out, in, *kernel)``, or ``(out,)``.
        target: shape of the weight that is wanted.
        parts: equal stretches of the output channels with a projection of their own each; 3 for a
            joint query, key and value projection, so that the three are not blended at the start.
    """

    out: nn.Parameter | None
    into: nn.Parameter | None

    def __init__(self, shape: tuple[int, ...], target: tuple[int, ...], parts: int = 1) -> None:
        super().__init__()
        out = into = None
        if shape[0] != target[0]:
            eye = torch.eye(target[0] // parts, shape[0] // parts)
            out = nn.Parameter(eye.repeat(parts, 1, 1))
        if len(shape) > 1 and shape[1] != target[1]:
            into = nn.Parameter(torch.eye(shape[1], target[1]))
        self.register_parameter("out", out)
        self.register_parameter("into", into)

    def forward(self, weight: Tensor) -> Tensor:
        """Project a weight ``(out, in, *kernel)``, or the bias ``(out,)`` that belongs to it."""
        if self.into is not None and weight.ndim > 1:
            weight = torch.einsum("os...,si->oi...", weight, self.into)
        if self.out is not None:
            parts = weight.unflatten(0, (self.out.shape[0], -1))
            weight = torch.einsum("pos,ps...->po...", self.out, parts).flatten(0, 1)
        return weight


@dataclass(eq=False)
class Source:
    """One neighbour's tensor: parameter ``name`` of ``layer``, brought to the wanted widths."""

    layer: nn.Module
    name: str
    projection: ChannelProjection | None = None
    detach: bool = False
    """Stop the gradient here, so that the neighbour does not learn through this use."""

    def tensors(self) -> list[Tensor]:
        """The parameters that this source is made of."""
        projection = self.projection.parameters() if self.projection is not None else ()
        return [getattr(self.layer, self.name), *projection]

    def __call__(self, dim: int) -> Tensor:
        """The neighbour's tensor, detached and projected (output channels along ``dim``)."""
        tensor = getattr(self.layer, self.name)
        if self.detach:
            tensor = tensor.detach()
        if self.projection is None:
            return tensor
        return self.projection(tensor.movedim(dim, 0)).movedim(0, dim)


class NeighbourRecipe(Recipe):
    """One weight tensor, mixed of the neighbours' tensors.

    Args:
        mix: the coefficients.
        before: the tensor of the block before, if used.
        after: the tensor of the block after, if used.
        dim: the dimension of output channels in the tensor.
    """

    def __init__(self, mix: Mix, before: Source | None, after: Source | None, dim: int = 0) -> None:
        self.mix, self.before, self.after, self.dim = mix, before, after, dim

    def ingredients(self) -> list[Tensor]:
        """The neighbours' tensors, their projections and the coefficients."""
        made_of = [t for s in (self.before, self.after) if s is not None for t in s.tensors()]
        return [*made_of, *self.mix.parameters()]

    def compose(self) -> Tensor:
        """Make the tensor; differentiable."""
        before = self.before(self.dim) if self.before is not None else None
        after = self.after(self.dim) if self.after is not None else None
        return self.mix(before, after, self.dim)
