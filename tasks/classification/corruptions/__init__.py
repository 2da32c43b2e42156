"""Common corruptions of images, 19 kinds in 5 severities.

The kinds and their strengths at 32x32 pixels follow Hendrycks and Dietterich 2019, "Benchmarking
Neural Network Robustness to Common Corruptions and Perturbations" (arXiv 1903.12261). The images
are made here, not read from CIFAR-10-C: random draws differ, and where the original needs
photographs (frost), ImageMagick (motion blur, snow) or OpenCV (spatter), an approximation stands
in, described with each function. Accuracies are comparable among themselves, not with published
ones on CIFAR-10-C and CIFAR-100-C.
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from tasks.classification.corruptions import blur, digital, noise, weather
from tasks.errors import UserError, unknown_name

SEVERITIES = 5

CORRUPTIONS = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "spatter": weather.spatter,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "saturate": digital.saturate,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "elastic_transform": digital.elastic_transform,
}
"""Functions of (images (N, C, H, W) in 0..1, severity from 1, generator on the CPU)."""


def corrupt(images: Tensor, name: str, severity: int, seed: int = 0) -> Tensor:
    """A corrupted copy of images, the same one for the same arguments.

    Args:
        images: (N, C, H, W) uint8, on any device; grey (C = 1) or RGB.
        name: a key of ``CORRUPTIONS``.
        severity: 1 to 5.
        seed: decides the random draws, which differ between kinds and severities too.

    Returns:
        (N, C, H, W) uint8.

    Raises:
        UserError: no such corruption or severity.
    """
    if name not in CORRUPTIONS:
        raise unknown_name("corruption", name, CORRUPTIONS)
    if severity not in range(1, SEVERITIES + 1):
        raise UserError(f"a corruption's severity is 1 to {SEVERITIES}, not {severity}")
    key = zlib.crc32(f"{seed} {name} {severity}".encode())
    generator = torch.Generator().manual_seed(key)
    made = CORRUPTIONS[name](images.float() / 255, severity, generator)
    return (made.clamp(0, 1) * 255).round().to(torch.uint8)
