"""Noise on pixels; see :mod:`tasks.classification.corruptions`."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from tasks.classification.corruptions.filters import normal, uniform


def gaussian_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Normal noise of one deviation."""
    deviation = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
    return images + deviation * normal(images.shape, images, generator)


def shot_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Poisson noise, as of counted photons."""
    photons = (500, 250, 100, 75, 50)[severity - 1]
    drawn = torch.poisson(images.cpu().clamp(0, 1) * photons, generator=generator)
    return drawn.to(images.device) / photons


def impulse_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Some values at 0 and as many at 1, in each channel by itself."""
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    hit = uniform(images.shape, images, generator) < share
    salt = uniform(images.shape, images, generator) < 0.5
    return torch.where(hit, salt.to(images.dtype), images)


def speckle_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Normal noise in proportion to the pixel."""
    deviation = (0.06, 0.1, 0.12, 0.16, 0.2)[severity - 1]
    return images * (1 + deviation * normal(images.shape, images, generator))
