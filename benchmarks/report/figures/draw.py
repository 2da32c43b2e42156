"""Figures drawn with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator

from benchmarks.report.figures import style
from benchmarks.report.figures.panels import (
    Curves,
    Figure,
    Memory,
    Point,
    TradeOff,
    labels,
)

MANY = 400
"""From here on points are drawn as one picture, without bars: a shape each would only bloat."""
LONGEST = 200
"""Points of one curve."""
NAMED = 14
"""Up to so many sub-networks have their names beside them."""
MOST_BARS = 16
_LEFT, _RIGHT, _TOP, _AXIS, _LABEL, _ROW = 0.62, 0.14, 0.12, 2.25, 0.5, 0.172
"""Inches: margins, the height of the axes, of the label below them, and of a row of legend."""
_GAP = Point("", "", "", math.nan, math.nan)
"""Ends a line, so that many methods of one look are drawn at once."""
_LOG_FROM = 8
"""The ratio of the largest to the smallest cost from which the axis is logarithmic."""


def draw(figure: Figure) -> Canvas:
    """The figure, ready to be saved; call it under ``output.drawing``."""
    panel = figure.panel
    if isinstance(panel, Memory):
        return _draw_memory(panel)
    entries = _legend(figure)
    canvas, axes = _canvas(entries)
    if isinstance(panel, TradeOff):
        _draw_trade_off(axes, panel, figure)
    else:
        _draw_curves(axes, panel, figure)
    return canvas


def _draw_trade_off(axes: Axes, panel: TradeOff, figure: Figure) -> None:
    points = panel.points
    xs = [point.x for point in points]
    if min(xs) > 0 and max(xs) / min(xs) > _LOG_FROM:
        axes.set_xscale("log")
    many = len(points) > MANY
    if not panel.joined:
        front = sorted({(point.x, point.y) for point in points if point.front})
        x, y = [point[0] for point in front], [point[1] for point in front]
        axes.step(x, y, where="post", color=style.OTHER, lw=1, zorder=1, rasterized=many)
    looks: list[tuple[dict[str, Any], list[Point]]] = []
    for (method, arch), found in _by_method(points).items():
        look = _look(figure, method, arch)
        if not panel.joined or many:
            look["linestyle"] = "none"
        same = next((others for other, others in looks if other == look), None)
        if same is None:
            looks.append((look, found))
        else:
            same += [_GAP, *found]
    for look, found in looks:
        x, y = [p.x for p in found], [p.y for p in found]
        axes.plot(x, y, **look, rasterized=many, clip_on=many)
        if not many:
            bars = {"ecolor": look["color"], "elinewidth": 0.9, "fmt": "none", "zorder": 2}
            axes.errorbar(x, y, [p.y_sd or 0 for p in found], [p.x_sd or 0 for p in found], **bars)
    if panel.joined and len(points) <= NAMED and len(figure.archs) == 1:
        axes.margins(0.1)
        places = axes.transData.transform([(point.x, point.y) for point in points])
        places = axes.transAxes.inverted().transform(places)
        for point, (across, _) in zip(points, places, strict=True):
            right = across > 0.7  # near the edge the name goes to the left
            axes.annotate(
                _short(point.variant, 16),
                (point.x, point.y),
                (-5 if right else 5, 5 if right else -10),
                textcoords="offset points",
                ha="right" if right else "left",
                fontsize=7.5,
                color=style.MUTED,
            )
    x_label, y_label = labels(panel)
    _finish(axes, x_label, y_label)


def _by_method(points: Sequence[Point]) -> dict[tuple[str, str], list[Point]]:
    found: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        found.setdefault((point.method, point.arch), []).append(point)
    return found


def _draw_curves(axes: Axes, panel: Curves, figure: Figure) -> None:
    for curve in panel.curves:
        look = _look(figure, curve.method, curve.arch)
        look["marker"] = look["marker"] if len(curve.x) <= 12 else "none"
        kept = _spread(len(curve.x), LONGEST)
        x, y = [curve.x[i] for i in kept], [curve.y[i] for i in kept]
        axes.plot(x, y, **{**look, "markersize": 4})
        if curve.sd:
            low = [curve.y[i] - curve.sd[i] for i in kept]
            high = [curve.y[i] + curve.sd[i] for i in kept]
            axes.fill_between(x, low, high, color=look["color"], alpha=0.14, lw=0, zorder=2)
    _finish(axes, panel.x_label, panel.y_label)
    if all(value.is_integer() for curve in panel.curves for value in curve.x):
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _draw_memory(panel: Memory) -> Canvas:
    bars = panel.bars[:MOST_BARS]
    several = len({bar.arch for bar in bars}) > 1
    parts = [i for i in range(len(panel.parts)) if any(bar.parts[i] is not None for bar in bars)]
    entries: list[Any] = [Patch(color=style.LIGHT[i], label=panel.parts[i]) for i in parts]
    canvas, axes = _canvas(entries, left=_RIGHT, height=0.2 + 0.42 * len(bars))
    for place, bar in enumerate(bars):
        start = 0.0
        for i in parts:
            size = bar.parts[i] or 0.0
            axes.barh(place, size, left=start, height=0.42, color=style.LIGHT[i], lw=0)
            start += size
        name = f"{bar.method}, {bar.arch}" if several else bar.method
        axes.annotate(
            _short(name, 56), (0, place - 0.26), (1, 1), textcoords="offset points", va="bottom"
        )
    axes.set_ylim(len(bars) - 0.6, -0.75)
    axes.yaxis.set_major_locator(FixedLocator([]))
    axes.spines["left"].set_visible(False)
    _finish(axes, "MiB", "")
    if len(panel.bars) > len(bars):
        axes.set_xlabel(f"MiB; {len(panel.bars) - len(bars)} further methods are in the table")
    return canvas


def _canvas(
    entries: Sequence[Any], left: float = _LEFT, height: float = _AXIS
) -> tuple[Canvas, Axes]:
    """Axes of a fixed size with the legend below them, two columns where names are short."""
    columns = 2 if all(len(entry.get_label()) <= 26 for entry in entries) else 1
    rows = -(-len(entries) // columns)
    below = _LABEL + _ROW * rows + 0.08
    total = _TOP + height + below
    canvas = Canvas(figsize=(style.WIDTH, total))
    axes = canvas.add_axes(
        (left / style.WIDTH, below / total, 1 - (left + _RIGHT) / style.WIDTH, height / total)
    )
    if entries:
        canvas.legend(
            handles=list(entries),
            loc="upper left",
            bbox_to_anchor=(0.1 / style.WIDTH, (below - _LABEL + 0.04) / total),
            ncols=columns,
            borderpad=0,
            borderaxespad=0,
            labelspacing=0.45,
            handlelength=2.4,
            columnspacing=1.2,
        )
    return canvas, axes


def _legend(figure: Figure) -> list[Line2D]:
    """Methods by colour, architectures by what else tells them apart."""
    panel = figure.panel
    shown = panel.points if isinstance(panel, TradeOff) else getattr(panel, "curves", ())
    present = {item.method for item in shown}
    methods = [method for method in figure.methods if method in present]
    curved = not isinstance(panel, TradeOff) or panel.joined
    entries, others = [], 0
    for method in methods:
        look = _look(figure, method, figure.archs[0] if len(figure.archs) == 1 else None)
        if look["color"] == style.OTHER:
            others += 1
            continue
        line = "-" if curved else "none"
        entries.append(Line2D([], [], **{**look, "linestyle": line}, label=_short(method, 52)))
    if others:
        look = {"color": style.OTHER, "marker": ".", "linestyle": "none"}
        entries.append(Line2D([], [], **look, label=f"{others} other methods"))
    if len(figure.archs) > 1:
        for arch in figure.archs:
            look = {**_look(figure, "", arch), "color": style.INK}
            line = look["linestyle"] if curved else "none"
            entries.append(Line2D([], [], **{**look, "linestyle": line}, label=_short(arch, 52)))
    return entries


def _look(figure: Figure, method: str, arch: str | None) -> dict[str, Any]:
    """A method has a colour; the marker and the line are its own, or the architecture's."""
    place = figure.methods.index(method) if method in figure.methods else 0
    colour = style.LIGHT[place] if place < len(style.LIGHT) else style.OTHER
    marker = style.MARKERS[place % len(style.MARKERS)]
    line = "-"
    if len(figure.archs) > 1:
        number = 0 if arch is None else figure.archs.index(arch)
        marker = "o" if arch is None else style.MARKERS[number % len(style.MARKERS)]
        line = style.LINES[number % len(style.LINES)]
    if colour == style.OTHER:
        marker = "."
    size = {"*": 7.5, "P": 6.5, "X": 6.5}.get(marker, 5.5)
    return {
        "color": colour,
        "marker": marker,
        "linestyle": line,
        "markersize": size,
        "markeredgewidth": 0,
        # Named methods are drawn over the others.
        "zorder": 2.2 if colour == style.OTHER else 3,
    }


def _finish(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if axes.get_xscale() == "log":
        low, high = axes.get_xlim()
        steps = (1.0, 2.0, 5.0) if high / low < 500 else (1.0,)
        axes.xaxis.set_major_locator(LogLocator(subs=steps, numticks=8))
        axes.xaxis.set_minor_locator(FixedLocator([]))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    plain = FuncFormatter(lambda value, _: f"{value:,.10g}".replace("-", "−"))
    axes.xaxis.set_major_formatter(plain)
    if y_label:
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter(plain)


def _spread(count: int, most: int) -> list[int]:
    """At most so many indices, evenly, with both ends."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most - most // 2 - 1) :]}"
