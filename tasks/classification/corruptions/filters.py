"""What several corruptions are made of; images are (N, C, H, W) floats."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def normal(shape: tuple[int, ...], like: Tensor, generator: Generator) -> Tensor:
    """Standard normal draws, the same on every device."""
    return torch.randn(shape, generator=generator).to(like.device)


def uniform(shape: tuple[int, ...], like: Tensor, generator: Generator) -> Tensor:
    """Draws from 0 to 1, the same on every device."""
    return torch.rand(shape, generator=generator).to(like.device)


def smooth(images: Tensor, deviation: float) -> Tensor:
    """Gaussian blur with ``deviation`` in pixels, cut off at 4 deviations; edges are continued."""
    radius = max(1, math.ceil(4 * deviation))
    position = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    line = torch.exp(-(position**2) / (2 * deviation**2))
    line = line / line.sum()
    return convolve(convolve(images, line[None]), line[:, None])


def convolve(images: Tensor, kernel: Tensor) -> Tensor:
    """Every channel filtered with one kernel of odd sides; edges are continued."""
    rows, columns = kernel.shape
    channels = images.shape[1]
    padded = F.pad(images, (columns // 2,) * 2 + (rows // 2,) * 2, mode="replicate")
    return F.conv2d(padded, kernel.expand(channels, 1, rows, columns), groups=channels)


def grid(images: Tensor) -> Tensor:
    """Pixel positions (1, H, W, 2) as (x, y)."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device, dtype=images.dtype)
    columns = torch.arange(width, device=images.device, dtype=images.dtype)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)[None]


def sample(images: Tensor, positions: Tensor) -> Tensor:
    """The images at positions (N, H, W, 2) in pixels, bilinear; edges are continued."""
    size = torch.tensor(images.shape[:1:-1], device=images.device, dtype=images.dtype)
    scaled = (2 * positions + 1) / size - 1
    return F.grid_sample(
        images, scaled.expand(len(images), -1, -1, -1), padding_mode="border", align_corners=False
    )


def streak(images: Tensor, angle: Tensor, radius: int, deviation: float) -> Tensor:
    """Motion blur: each image's mean along a line, with half-Gaussian weights.

    Args:
        images: (N, C, H, W).
        angle: (N,) directions in radians.
        radius: length of the line in pixels.
        deviation: of the weights, in pixels.
    """
    direction = torch.stack([angle.cos(), angle.sin()], dim=-1)[:, None, None]
    weights = [math.exp(-(step**2) / (2 * deviation**2)) for step in range(radius + 1)]
    total = torch.zeros_like(images)
    for step, weight in enumerate(weights):
        total += weight * sample(images, grid(images) + step * direction)
    return total / sum(weights)


def plasma(images: Tensor, decay: float, generator: Generator) -> Tensor:
    """Cloud-like noise (N, 1, H, W) from 0 to 1: octaves whose strength falls by ``decay``."""
    number, _, height, width = images.shape
    total = torch.zeros(number, 1, height, width, device=images.device)
    strength = 1.0
    side = 2
    while side <= max(height, width):
        octave = uniform((number, 1, side, side), images, generator)
        total += strength * F.interpolate(
            octave, (height, width), mode="bilinear", align_corners=True
        )
        strength /= decay
        side *= 2
    low, high = total.amin((1, 2, 3), keepdim=True), total.amax((1, 2, 3), keepdim=True)
    return (total - low) / (high - low).clamp_min(1e-8)
