"""What `mmcv.utils.collect_env` prints for the compiler of the ops."""

from __future__ import annotations

NOT_COMPILED = "none: a stand-in over torchvision's kernels"


def get_compiler_version() -> str:
    """There is no compiler to name: nothing of mmcv is compiled."""
    return NOT_COMPILED


def get_compiling_cuda_version() -> str:
    """There is no CUDA toolkit to name: nothing of mmcv is compiled."""
    return NOT_COMPILED
