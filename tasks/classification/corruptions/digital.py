"""Light, colour, resolution and geometry; see :mod:`tasks.classification.corruptions`."""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor

from tasks.classification.corruptions.filters import grid, sample, smooth, uniform


def brightness(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """The brightest channel raised, with hue and saturation kept (HSV's value)."""
    value = images.amax(1, keepdim=True)
    raised = (value + (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]).clamp(0, 1)
    return torch.where(value > 0, images * raised / value.clamp_min(1e-8), raised)


def contrast(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Every channel drawn towards its mean over the image."""
    mean = images.mean((2, 3), keepdim=True)
    return mean + (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1] * (images - mean)


def saturate(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """HSV's saturation scaled and shifted, with hue and value kept; grey images stay as they are.

    A grey pixel has no hue: it is taken as red, as HSV conversions do.
    """
    if images.shape[1] == 1:
        return images
    scale, shift = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))[severity - 1]
    value, low = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    spread = value - low
    wanted = value * (scale * spread / value.clamp_min(1e-8) + shift).clamp(0, 1)
    red = torch.tensor([0.0, 1.0, 1.0], device=images.device).view(1, 3, 1, 1)
    distance = torch.where(spread > 0, (value - images) / spread.clamp_min(1e-8), red)
    return value - distance * wanted


def pixelate(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Scaled down by area and up again by repetition."""
    share = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1]
    size = images.shape[2:]
    small = [max(1, int(side * share)) for side in size]
    return F.interpolate(F.interpolate(images, small, mode="area"), size, mode="nearest")


def jpeg_compression(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Written and read as JPEG of falling quality."""
    quality = (80, 65, 58, 50, 40)[severity - 1]
    pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    made = np.stack([_through_jpeg(each, quality) for each in pixels])
    return torch.from_numpy(made).to(images.device).permute(0, 3, 1, 2).float() / 255


def elastic_transform(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Three points moved at random, the image with them, and a smooth random field of shifts.

    Lengths are shares of the image's side.
    """
    strength, smoothness, reach = (
        (0.0, 0.0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    )[severity - 1]
    number, side = len(images), images.shape[3]
    positions = grid(images)
    # The points lie a third of the side from the centre: lower right, upper right, upper left.
    x, y = ((positions / side - 0.5) * 3).unbind(-1)
    weights = torch.stack([(1 + y) / 2, (x - y) / 2, (1 - x) / 2], dim=-1)
    moves = side * reach * (2 * uniform((number, 1, 1, 2, 3), images, generator) - 1)
    shifts = (moves * weights[..., None, :]).sum(-1)
    if strength:
        field = 2 * uniform((number, 2, *images.shape[2:]), images, generator) - 1
        field = side * strength * smooth(field, side * smoothness)
        shifts = shifts + field.permute(0, 2, 3, 1)
    return sample(images, positions + shifts)


def _through_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """(H, W, C) uint8, C 1 or 3."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(
        file, "JPEG", quality=quality
    )
    return np.asarray(Image.open(file)).reshape(pixels.shape)
