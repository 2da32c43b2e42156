"""The data of figures, in the units that are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from benchmarks.analysis.columns import Column
from benchmarks.analysis.statistics.pareto import pareto_front
from benchmarks.analysis.summary import Line
from benchmarks.report.layout import axis_label, title_of

MEMORY_PARTS = ("mem_parameters", "mem_gradients", "mem_optimizer", "mem_activations", "mem_rest")


class Point(NamedTuple):
    """A network: means over seeds and sample standard deviations, None of a single seed."""

    method: str
    arch: str
    variant: str
    x: float
    y: float
    x_sd: float | None = None
    y_sd: float | None = None
    front: bool = False


@dataclass(frozen=True)
class TradeOff:
    """A quality against a cost.

    Attributes:
        joined: the points of a method are joined: they are its sub-networks. Else the Pareto front
            of all points is drawn.
    """

    x: Column
    y: Column
    points: tuple[Point, ...]
    joined: bool = False


class Curve(NamedTuple):
    """A method's validations: means over seeds, in the order of training."""

    method: str
    arch: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    sd: tuple[float, ...]
    """Of y; empty for one seed."""


@dataclass(frozen=True)
class Curves:
    """A metric on validation against what training has spent."""

    x_label: str
    y_label: str
    curves: tuple[Curve, ...]


class Bar(NamedTuple):
    """The parts of a method's memory; None where a part is not known."""

    method: str
    arch: str
    parts: tuple[float | None, ...]


@dataclass(frozen=True)
class Memory:
    """What the peak of a training step is made of, in MiB."""

    parts: tuple[str, ...]
    bars: tuple[Bar, ...]


Panel: TypeAlias = TradeOff | Curves | Memory


@dataclass(frozen=True)
class Figure:
    """A figure: the stem of its files, a caption, and what it shows.

    Attributes:
        methods: all that its neighbours show too, so that each has one colour in all of them.
        archs: the same of architectures.
    """

    stem: str
    caption: str
    panel: Panel
    methods: tuple[str, ...]
    archs: tuple[str, ...]


def trade_off(lines: Sequence[Line], x: Column, y: Column) -> TradeOff:
    """All networks with both values, and which of them no other beats in both."""
    points = _points(lines, x, y)
    front = pareto_front(
        np.array([point[3:5] for point in points]).reshape(-1, 2),
        (x.info.better or "lower", y.info.better),
    )
    marked = (p._replace(front=bool(f)) for p, f in zip(points, front, strict=True))
    return TradeOff(x, y, tuple(marked))


def sub_networks(lines: Sequence[Line], x: Column, y: Column) -> TradeOff:
    """The networks of those methods that have several, by rising cost."""
    points = _points(lines, x, y)
    costs: dict[tuple[str, str], set[float]] = {}
    for point in points:
        costs.setdefault((point.method, point.arch), set()).add(point.x)
    kept = [p for p in points if len(costs[p.method, p.arch]) > 1]
    order = list(costs)
    kept.sort(key=lambda p: (order.index((p.method, p.arch)), p.x, p.y))
    return TradeOff(x, y, tuple(kept), joined=True)


def memory(lines: Sequence[Line]) -> Memory:
    """The parts of the peak, a bar for each method: variants share their run's."""
    columns = [Column(part, "setup") for part in MEMORY_PARTS]
    bars: dict[tuple[str, str], Bar] = {}
    for line in lines:
        means = [line.cells[c.key].mean if c.key in line.cells else None for c in columns]
        parts = tuple(
            None if mean is None else mean / c.info.scale
            for mean, c in zip(means, columns, strict=True)
        )
        if any(part is not None for part in parts):
            key = line.network.method, line.network.arch
            bars.setdefault(key, Bar(*key, parts))
    return Memory(tuple(title_of(column) for column in columns), tuple(bars.values()))


def labels(panel: TradeOff) -> tuple[str, str]:
    """The axes' labels."""
    return axis_label(panel.x), axis_label(panel.y)


def _points(lines: Sequence[Line], x: Column, y: Column) -> list[Point]:
    points = []
    for line in lines:
        cost, quality = line.cells[x.key], line.cells[y.key]
        if cost.mean is None or quality.mean is None:
            continue
        points.append(
            Point(
                line.network.method,
                line.network.arch,
                line.network.variant,
                cost.mean / x.info.scale,
                quality.mean / y.info.scale,
                None if cost.sd is None else cost.sd / x.info.scale,
                None if quality.sd is None else quality.sd / y.info.scale,
            )
        )
    return points
