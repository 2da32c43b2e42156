"""Template banks: where the weights of all members' convolutions come from, under one budget.

Layers of one cluster share a bank, and each shape extends the next smaller one.

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

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from methods.synthesis import Recipe
from tasks.errors import UserError

Shape = tuple[int, ...]
"""Of a convolution's weight: (output channels, input channels of a group, *kernel)."""


Assignment = tuple[tuple[int, ...], ...]
"""The cluster of every layer of every member; clusters are numbered from 0."""


def depth_bins(shapes: Sequence[Sequence[Shape]], bins: int) -> Assignment:
    """Layers of one kernel in ``bins`` equal stretches of depth, 1x1 layers in a single cluster.

    A member's layers are divided by their order; the first bins take what does not divide evenly.
    Kernels are numbered from the smallest.

    Args:
        shapes: weight shapes of each member's layers, in order of depth.
        bins: clusters of each kernel above 1x1.
    """
    return numbered(
        [
            [(shape[2:], 0 if _is_point(shape) else part) for shape, part in zip(m, b, strict=True)]
            for m, b in ((member, _parts(member, bins)) for member in shapes)
        ]
    )


def random_bins(
    shapes: Sequence[Sequence[Shape]], bins: int, generator: np.random.Generator
) -> Assignment:
    """Clusters of the sizes of :func:`depth_bins`, each of random layers with one kernel.

    A control: it tells whether it matters which layers share.
    """
    assignment = depth_bins(shapes, bins)
    places: dict[Shape, list[tuple[int, int]]] = {}
    for number, member in enumerate(shapes):
        for layer, shape in enumerate(member):
            places.setdefault(shape[2:], []).append((number, layer))
    mixed = [list(member) for member in assignment]
    for of_kernel in places.values():
        drawn = generator.permutation(len(of_kernel))
        for (number, layer), other in zip(of_kernel, drawn, strict=True):
            taken = of_kernel[other]
            mixed[number][layer] = assignment[taken[0]][taken[1]]
    return tuple(map(tuple, mixed))


def per_layer(shapes: Sequence[Sequence[Shape]]) -> Assignment:
    """The i-th layers with one kernel of all members share, and nothing else does."""
    return numbered([list(zip(_kernels(m), _places(m), strict=True)) for m in shapes])


def _parts(member: Sequence[Shape], bins: int) -> list[int]:
    ends: dict[Shape, list[int]] = {}
    for kernel in set(_kernels(member)):
        layers = _kernels(member).count(kernel)
        sizes = [len(part) for part in np.array_split(np.arange(layers), bins)]
        ends[kernel] = list(np.repeat(np.arange(bins), sizes))
    return [int(ends[k][place]) for k, place in zip(_kernels(member), _places(member), strict=True)]


def _kernels(member: Sequence[Shape]) -> list[Shape]:
    return [shape[2:] for shape in member]


def _places(member: Sequence[Shape]) -> list[int]:
    """The place of each layer among those with its kernel."""
    kernels = _kernels(member)
    return [kernels[:number].count(kernel) for number, kernel in enumerate(kernels)]


def _is_point(shape: Shape) -> bool:
    return all(side == 1 for side in shape[2:])


def numbered(keys: Sequence[Sequence[tuple[Any, int]]]) -> Assignment:
    """Clusters numbered by the order of their keys."""
    order = sorted({key for member in keys for key in member})
    return tuple(tuple(order.index(key) for key in member) for member in keys)


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


MOST_TEMPLATES = 8


@dataclass(frozen=True)
class BlockPlan:
    """A block of a cluster.

    Attributes:
        extension: its place in the chain of shapes.
        users: (member, layer) of every layer that contains it, in order.
        templates: how many it has.
    """

    extension: Extension
    users: tuple[tuple[int, int], ...]
    templates: int

    @property
    def parameters(self) -> int:
        """Elements of all its templates."""
        return self.templates * self.extension.size


Bank = tuple[BlockPlan, ...]
"""The blocks of one cluster, smallest first; a layer of rank k uses blocks 0 to k."""


def allocate(blocks: Sequence[tuple[int, int]], budget: int) -> list[int]:
    """Templates of each block.

    Every block gets one. Then, for n = 1, 2, ..., each block that more than n layers use gets one
    more while the budget lasts; then all in turn get one more. A block that does not fit is passed
    over, and none gets more than ``MOST_TEMPLATES``.

    Args:
        blocks: size of a template and number of layers that use it, for each block.
        budget: elements that all templates together may have.

    Raises:
        ValueError: the budget is below one template for each block.
    """
    counts = [1] * len(blocks)
    left = budget - sum(size for size, _ in blocks)
    if left < 0:
        raise ValueError(f"the budget lacks {-left} elements for one template a block")

    def add_one(wanted: Sequence[bool]) -> None:
        nonlocal left
        for number, (size, _) in enumerate(blocks):
            if wanted[number] and counts[number] < MOST_TEMPLATES and size <= left:
                counts[number] += 1
                left -= size

    for level in range(1, MOST_TEMPLATES):
        add_one([uses > level for _, uses in blocks])
    for _ in range(1, MOST_TEMPLATES):
        add_one([True] * len(blocks))
    return counts


def plan_banks(
    shapes: Sequence[Sequence[Shape]], assignment: Assignment, budget: int
) -> tuple[Bank, ...]:
    """The banks of an ensemble.

    Args:
        shapes: weight shapes of each member's layers, in order.
        assignment: the cluster of each of them.
        budget: elements that all templates together may have.

    Raises:
        UserError: the budget is below the minimum; names it and the number of bins that would fit.
    """
    clusters = _users_and_chains(shapes, assignment)
    flat = [(block.size, len(users)) for blocks in clusters for block, users in blocks]
    least = sum(size for size, _ in flat)
    if least > budget:
        raise UserError(
            f"max_params={budget:,} is below the minimum of {least:,} (a template for each block); "
            f"{_what_fits(shapes, assignment, budget)}"
        )
    counts = iter(allocate(flat, budget))
    return tuple(
        tuple(BlockPlan(block, users, next(counts)) for block, users in blocks)
        for blocks in clusters
    )


def minimum(shapes: Sequence[Sequence[Shape]], assignment: Assignment) -> int:
    """Elements of one template for each block: the smallest budget there can be."""
    clusters = _users_and_chains(shapes, assignment)
    return sum(block.size for blocks in clusters for block, _ in blocks)


def _users_and_chains(
    shapes: Sequence[Sequence[Shape]], assignment: Assignment
) -> list[list[tuple[Extension, tuple[tuple[int, int], ...]]]]:
    layers: dict[int, list[tuple[int, int]]] = {}
    for member, clusters in enumerate(assignment):
        for layer, cluster in enumerate(clusters):
            layers.setdefault(cluster, []).append((member, layer))
    found = []
    for cluster in sorted(layers):
        order = sorted_shapes(shapes[m][n] for m, n in layers[cluster])
        ranks = [(order.index(shapes[m][n]), (m, n)) for m, n in layers[cluster]]
        found.append(
            [
                (block, tuple(user for rank, user in ranks if rank >= number))
                for number, block in enumerate(chain(order))
            ]
        )
    return found


def _what_fits(shapes: Sequence[Sequence[Shape]], assignment: Assignment, budget: int) -> str:
    most = len({cluster for clusters in assignment for cluster in clusters})
    for bins in range(most, 0, -1):
        if minimum(shapes, depth_bins(shapes, bins)) <= budget:
            return f"clusters: depth_bins with bins: {bins} would fit"
    least = minimum(shapes, depth_bins(shapes, 1))
    return f"even a single bin needs {least:,}: raise max_params or use smaller members"


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
        init: ``layer_kaiming`` or ``official``.
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
