"""Which kernels a GPU may use: set for every run, whatever torch's defaults are."""

from __future__ import annotations

import torch


def set_kernels(device: torch.device, tf32: bool, fixed_shapes: bool) -> None:
    """Set TF32 and cuDNN's search for the process; nothing on a CPU.

    By default torch computes float32 products in float32 and float32 convolutions in TF32, with
    10 of 23 bits of the factors.

    Args:
        device: where the run trains.
        tf32: whether products and convolutions may use it.
        fixed_shapes: whether cuDNN may search for the fastest kernel of each shape, which takes
            longer than it saves where shapes vary.
    """
    if device.type != "cuda":
        return
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = fixed_shapes
