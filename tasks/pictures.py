"""Pictures for people: panels side by side under their captions, large enough to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

READABLE = 960
"""Pixels of a panel's longer side; smaller pictures are enlarged to it."""
GAP = 8
"""Pixels between panels."""
STRIP = 34
"""Pixels of height that a line of text takes."""
TEXT = 22
"""Pixels of height of the letters, where there is room."""
_SWATCH = 30
BLACK, WHITE, GREEN, RED = "black", "white", "#1a7f37", "#cf222e"


def spread(count: int, most: int) -> list[int]:
    """All indices below ``count``, or ``most`` of them, evenly spread and always the same."""
    if count <= most:
        return list(range(count))
    return np.linspace(0, count - 1, most).round().astype(int).tolist()


def readable_size(width: int, height: int, side: int = READABLE) -> tuple[int, int]:
    """Width and height enlarged so that the longer is ``side``; those that are larger stay."""
    factor = max(1.0, side / max(width, height))
    return round(width * factor), round(height * factor)


def side_by_side(
    title: str,
    panels: Sequence[tuple[str, Image.Image]],
    colours: Mapping[str, tuple[int, int, int]] | None = None,
) -> Image.Image:
    """Panels in a row, each under its caption, all under a title and over what colours mean.

    Returns:
        A picture as wide as the panels and a ``GAP`` between each two, and two ``STRIP`` higher
        than the highest panel, and as many more as the ``colours`` take lines.
    """
    width = sum(panel.width for _, panel in panels) + GAP * (len(panels) - 1)
    height = 2 * STRIP + max(panel.height for _, panel in panels)
    lines = list(_lines(colours or {}, width))
    canvas = Image.new("RGB", (width, height + STRIP * len(lines)), WHITE)
    write(canvas, title, (0, 0), width)
    left = 0
    for caption, panel in panels:
        write(canvas, caption, (left, STRIP), panel.width)
        canvas.paste(panel, (left, 2 * STRIP))
        left += panel.width + GAP
    brush = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        top = height + STRIP * number
        for left, name in line:
            box = (left + 4, top + 8, left + 4 + _SWATCH, top + STRIP - 8)
            brush.rectangle(box, fill=(colours or {})[name], outline=BLACK)
            write(canvas, name, (left + 4 + _SWATCH, top), width)
    return canvas


def _lines(names: Iterable[str], width: int) -> Iterator[list[tuple[int, str]]]:
    """Lines of (left edge, name), as many names in one as fit."""
    line: list[tuple[int, str]] = []
    left = 0
    for name in names:
        needed = _SWATCH + round(font(TEXT).getlength(name)) + 24
        if line and left + needed > width:
            yield line
            line, left = [], 0
        line.append((left, name))
        left += needed
    if line:
        yield line


def write(
    canvas: Image.Image, text: str, corner: tuple[int, int], width: int, colour: str = BLACK
) -> None:
    """Write a line into a strip from ``corner`` on, as large as fits its width."""
    margin = 4
    size = TEXT
    while size > 8 and font(size).getlength(text) > width - 2 * margin:
        size -= 1
    place = corner[0] + margin, corner[1] + STRIP // 2
    ImageDraw.Draw(canvas).text(place, text, fill=colour, font=font(size), anchor="lm")


def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own, so that pictures are the same on every machine."""
    found = ImageFont.load_default(size)
    assert isinstance(found, ImageFont.FreeTypeFont)
    return found


def save(picture: Image.Image, folder: Path, name: str) -> Path:
    """Write ``NAME.png`` into a folder, which is made if absent."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    picture.save(path)
    return path
