"""A sheet of test images under the classes that they have and that a network gives them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw

from tasks.pictures import GAP, GREEN, RED, STRIP, WHITE, write

CELL = 184
"""Pixels of the side of an image on the sheet."""
COLUMNS = 6
_FRAME = 4


def sheet(
    title: str,
    images: torch.Tensor,
    labels: torch.Tensor,
    logits: torch.Tensor,
    names: Sequence[str],
) -> Image.Image:
    """Images in rows; below each its class and the likeliest one, framed in red where they differ.

    Args:
        title: the first line; how many are right is added.
        images: (N, C, H, W) in 0..1, of 1 or 3 channels.
        labels: (N,) classes.
        logits: (N, classes) of the network.
        names: of the classes.
    """
    probabilities, found = logits.softmax(1).max(1)
    right = found == labels
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    step = CELL + GAP, CELL + 2 * STRIP
    canvas = Image.new("RGB", (columns * step[0], STRIP + rows * step[1]), WHITE)
    caption = f"{title}  {int(right.sum())} of {len(images)} right"
    write(canvas, caption, (0, 0), canvas.width)
    for number, image in enumerate(images):
        left, top = (number % columns) * step[0], STRIP + (number // columns) * step[1]
        colour = GREEN if right[number] else RED
        corners = (left, top, left + CELL - 1, top + CELL - 1)
        ImageDraw.Draw(canvas).rectangle(corners, outline=colour, width=_FRAME)
        canvas.paste(_picture(image), (left + _FRAME, top + _FRAME))
        share = f"{100 * float(probabilities[number]):.0f} %"
        text = f"predicted {names[int(found[number])]}, {share}"
        write(canvas, f"is {names[int(labels[number])]}", (left, top + CELL), CELL)
        write(canvas, text, (left, top + CELL + STRIP), CELL, colour)
    return canvas


def _picture(image: torch.Tensor) -> Image.Image:
    pixels = (image * 255).round().clamp(0, 255).byte().expand(3, -1, -1).permute(1, 2, 0)
    picture = Image.fromarray(pixels.cpu().numpy())
    side = CELL - 2 * _FRAME
    # Single pixels of a small picture stay visible.
    small = max(picture.size) < side
    how = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    return picture.resize((side, side), how)
