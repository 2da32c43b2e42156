"""Blur; see :mod:`tasks.classification.corruptions`."""

from __future__ import annotations

import math
from itertools import product

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from tasks.classification.corruptions.filters import convolve, smooth, streak, uniform


def gaussian_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Gaussian blur."""
    return smooth(images, (0.4, 0.6, 0.7, 0.8, 1.0)[severity - 1])


def defocus_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """The mean over a disk whose edge is softened."""
    radius, soft = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))[severity - 1]
    side = torch.arange(-3.0, 4.0, device=images.device)
    disk = ((side[:, None] ** 2 + side[None] ** 2) <= radius**2).to(images.dtype)
    disk = smooth(disk[None, None], soft)[0, 0]
    return convolve(images, disk / disk.sum())


def glass_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Pixels swapped with near ones, between two Gaussian blurs."""
    options = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
    deviation, reach, rounds = options[severity - 1]
    images = smooth(images, deviation)
    number, _, height, width = images.shape
    places = torch.arange(number, device=images.device)
    inside = [range(side - 1 - reach, reach - 1, -1) for side in (height, width)]
    for _ in range(rounds):
        steps = torch.randint(-reach, reach + 1, (height, width, 2, number), generator=generator)
        steps = steps.to(images.device)
        for row, column in product(*inside):
            there = row + steps[row, column, 0], column + steps[row, column, 1]
            here = images[:, :, row, column].clone()
            images[:, :, row, column] = images[places, :, there[0], there[1]]
            images[places, :, there[0], there[1]] = here
    return smooth(images, deviation)


def motion_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """The mean along a line within 45 degrees of the horizontal, another for each image.

    Stands in for ImageMagick's motion blur: bilinear samples at whole steps along the line.
    """
    radius, deviation = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))[severity - 1]
    angle = (uniform((len(images),), images, generator) - 0.5) * math.pi / 2
    return streak(images, angle, radius, deviation)


def zoom_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """The mean of the image and of its centre at growing magnifications, in steps of 1%."""
    most = (5, 10, 15, 20, 25)[severity - 1]
    total = images.clone()
    for percent in range(most + 1):
        total += _magnified(images, 1 + percent / 100)
    return total / (most + 2)


def _magnified(images: Tensor, factor: float) -> Tensor:
    eye = torch.tensor([[[1 / factor, 0, 0], [0, 1 / factor, 0]]], device=images.device)
    positions = F.affine_grid(
        eye.expand(len(images), -1, -1), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, positions, padding_mode="border", align_corners=False)
