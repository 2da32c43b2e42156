"""The tensors of neighbours that a synthesised layer's weights are made of."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from methods.replacement.fusion import ChannelProjection, Mix
from methods.synthesis import Recipe


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
