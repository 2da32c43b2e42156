"""The dtype that torchvision's kernels compute in."""

from __future__ import annotations

import torch
from torch import Tensor


def computable(tensor: Tensor) -> Tensor:
    """Return float16 and bfloat16 as float32, which every kernel takes, and others as they are.

    Half a kernel's dtypes differ between CPU, CUDA and releases, and box coordinates above 2048
    are not whole numbers in float16: one rule for all keeps results the same everywhere.
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
