"""How a parameter budget is divided among the blocks of all clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from methods.superweight.chain import Extension, Shape, chain, sorted_shapes
from methods.superweight.clusters import Assignment, depth_bins
from tasks.errors import UserError

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
