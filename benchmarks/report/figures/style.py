"""How figures look: colours that colour-blind readers tell apart, on light and on dark."""

from __future__ import annotations

from typing import Any

LIGHT = ("#0065b4", "#ae4d00", "#009e72", "#b5549b", "#b88b00", "#3c94ff", "#444b5f", "#772033")
"""Series on white: contrast 3 or more, distinguishable under each kind of colour blindness."""
DARK = ("#4da3e0", "#f18a3f", "#2ed290", "#eba9c2", "#e8d44a", "#a5dbff", "#9a88ac", "#bd4f70")
"""The same on a dark page."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", ":", "-.")
"""Of architectures, where there are several."""

INK, MUTED, GRID, OTHER = "#1b1f24", "#59626d", "#e1e4e8", "#9aa1a9"
"""Text, axes, grid, and methods beyond the colours there are."""

WIDTH = 4.2
"""Inches: the figure of a column in print, and of a phone's width with text still readable."""

PARAMETERS: dict[str, Any] = {
    "svg.hashsalt": "depthbench",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
    "lines.linewidth": 1.4,
}
"""matplotlib's settings; whatever the reader's own are."""
