"""How weights of different shapes share one bank: each shape extends the next smaller one.

The distinct shapes of a cluster, sorted by size, form a chain. Block 0 is the smallest shape and
block k holds only what shape k has beyond shape k-1, so that a layer of rank k is the
concatenation of blocks 0 to k, without interpolation::

    shape k-1          block k                shape k
    +------+           +----+                 +------+----+
    | kept |     and   | in |     make        | kept | in |     rows: output channels
    +------+           +----+                 +------+----+     columns: input channels
                       +-----------+          |    out    |
                       |    out    |          +-----------+
                       +-----------+

Where a larger shape has fewer channels on one side, the surplus is cropped before it is extended.

Source: Teterwak et al., "Learning to Compose SuperWeights for Neural Parameter Allocation Search".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

Shape = tuple[int, ...]
"""Of a convolution's weight: (output channels, input channels of a group, *kernel)."""


@dataclass(frozen=True)
class Extension:
    """What a block adds to a smaller weight: an input-channel slab, then an output-channel slab.

    Attributes:
        kept: output and input channels of the smaller weight that stay; (0, 0) for block 0.
        target: the shape that comes out.
    """

    kept: tuple[int, int]
    target: Shape

    @property
    def input_slab(self) -> Shape:
        """New input channels for the kept output channels."""
        return (self.kept[0], self.target[1] - self.kept[1], *self.target[2:])

    @property
    def output_slab(self) -> Shape:
        """New output channels with all input channels."""
        return (self.target[0] - self.kept[0], *self.target[1:])

    @property
    def size(self) -> int:
        """Elements of the block."""
        return prod(self.input_slab) + prod(self.output_slab)

    def apply(self, weight: Tensor | None, values: Tensor) -> Tensor:
        """Put the block around a smaller weight.

        Args:
            weight: of the shape before in the chain; None for block 0.
            values: the block, flat (size,).

        Returns:
            The weight of shape ``target``.
        """
        inner, outer = values.split([prod(self.input_slab), prod(self.output_slab)])
        outer = outer.view(self.output_slab)
        if weight is None:
            return outer
        rows, columns = self.kept
        wide = torch.cat([weight[:rows, :columns], inner.view(self.input_slab)], dim=1)
        return torch.cat([wide, outer])


def sorted_shapes(shapes: Iterable[Shape]) -> list[Shape]:
    """The distinct shapes by falling rank: by elements, then by channels."""
    return sorted(set(shapes), key=lambda shape: (prod(shape), shape))


def chain(shapes: Iterable[Shape]) -> list[Extension]:
    """The blocks of a cluster whose layers have these shapes; a layer's rank is its shape's place.

    Args:
        shapes: weight shapes with one kernel; repeats and any order are fine.
    """
    blocks, rows, columns = [], 0, 0
    for shape in sorted_shapes(shapes):
        blocks.append(Extension((min(rows, shape[0]), min(columns, shape[1])), shape))
        rows, columns = shape[:2]
    return blocks
