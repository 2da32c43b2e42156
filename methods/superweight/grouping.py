"""From similarities of pairs to groups; nothing here knows what is compared."""

from __future__ import annotations

from collections.abc import Sequence

Pair = tuple[float, int, int]
"""Similarity of two items, and their numbers, the lower one first."""


def by_union(pairs: Sequence[Pair], items: int, threshold: float) -> list[list[int]]:
    """Priority-queue grouping: pairs in falling similarity are united while above the threshold.

    Items that no such pair holds are groups of their own.

    Source: Algorithm 1 of the supplement.

    Args:
        pairs: similarities of pairs of items.
        items: how many there are.
        threshold: pairs must be above it.

    Returns:
        A partition of ``range(items)``; groups and their items in rising order.
    """
    group = {item: {item} for item in range(items)}
    for similarity, first, second in _falling(pairs):
        if similarity <= threshold:
            break
        united = group[first] | group[second]
        group |= dict.fromkeys(united, united)
    return _sorted_partition([min(group[item]) for item in range(items)])


def by_relabelling(pairs: Sequence[Pair], items: int, threshold: float) -> list[list[int]]:
    """The official code's variant: the second item of a pair alone takes the first one's group.

    What had been grouped with the second item before stays behind, so that groups depend on the
    order of pairs. Arguments and result as for :func:`by_union`.
    """
    group = list(range(items))
    for similarity, first, second in _falling(pairs):
        if similarity <= threshold:
            break
        group[second] = group[first]
    return _sorted_partition(group)


def _falling(pairs: Sequence[Pair]) -> list[Pair]:
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))


def _sorted_partition(labels: Sequence[int]) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for item, label in enumerate(labels):
        groups.setdefault(label, []).append(item)
    return sorted(groups.values())
