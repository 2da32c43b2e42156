"""Weather and dirt; see :mod:`tasks.classification.corruptions`."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from tasks.classification.corruptions.filters import normal, plasma, smooth, streak, uniform


def fog(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Cloud-like noise added, and the sum scaled back to the image's range.

    The noise is a sum of octaves, where the original subdivides squares and diamonds.
    """
    density, decay = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))[severity - 1]
    brightest = images.amax((1, 2, 3), keepdim=True)
    return (images + density * plasma(images, decay, generator)) * brightest / (brightest + density)


def frost(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """A bright crystalline layer over a darkened image.

    Stands in for the original's photographs of frost: ridges of cloud-like noise, which are bright
    and thin, with a little blue where there are colours.
    """
    options = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))
    keep, strength = options[severity - 1]
    ridges = 1 - (2 * plasma(images, 1.5, generator) - 1).abs()
    tint = torch.tensor([0.85, 0.92, 1.0], device=images.device).view(1, 3, 1, 1)
    layer = ridges * tint if images.shape[1] == 3 else ridges
    return keep * images + strength * layer


def snow(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Flakes of magnified, thresholded noise, blurred along their fall, on a whitened image.

    The fall is the line blur of ``motion_blur``, in place of ImageMagick's.
    """
    mean, deviation, zoom, threshold, radius, spread, keep = (
        (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
    )[severity - 1]
    number, _, height, width = images.shape
    cells = (math.ceil(height / zoom), math.ceil(width / zoom))
    flakes = mean + deviation * normal((number, 1, *cells), images, generator)
    flakes = F.interpolate(flakes, (height, width), mode="bilinear", align_corners=False)
    flakes = torch.where(flakes < threshold, torch.zeros_like(flakes), flakes.clamp(0, 1))
    angle = -math.pi * (0.25 + 0.5 * uniform((number,), images, generator))
    flakes = streak(flakes, angle, radius, spread)
    grey = images.mean(1, keepdim=True)
    whitened = keep * images + (1 - keep) * torch.maximum(images, grey * 1.5 + 0.5)
    return whitened + flakes + flakes.flip((2, 3))


def spatter(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Drops of water (severities 1 to 3) or mud (4 and 5) where smooth noise is high.

    Stands in for the original's drops, whose rims OpenCV's edge and distance filters draw.
    """
    mean, deviation, spread, threshold, opacity, mud = (
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1.0, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    )[severity - 1]
    number, channels, height, width = images.shape
    layer = smooth(mean + deviation * normal((number, 1, height, width), images, generator), spread)
    wet = (layer > threshold).to(images.dtype)
    if not mud:
        wet = wet * layer
    colour = (63, 42, 20) if mud else (175, 238, 238)
    paint = torch.tensor(colour, device=images.device).view(1, 3, 1, 1) / 255
    if channels == 1:
        paint = paint.mean(1, keepdim=True)
    cover = (opacity * wet).clamp(0, 1)
    return (1 - cover) * images + cover * paint
