"""Which layers share a bank before anything has been learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from methods.superweight.chain import Shape

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
    return _number(
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
    return _number([list(zip(_kernels(m), _places(m), strict=True)) for m in shapes])


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


def _number(keys: Sequence[Sequence[tuple[Shape, int]]]) -> Assignment:
    order = sorted({key for member in keys for key in member})
    return tuple(tuple(order.index(key) for key in member) for member in keys)
