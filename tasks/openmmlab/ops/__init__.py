"""A stand-in for `mmcv._ext`, the compiled half of mmcv, over torchvision's CPU and CUDA kernels.

`mmcv-lite` ships the Python half of `mmcv.ops` alone. After `install()`, `import mmcv.ops` works
without compiled code: the ops that the benchmark's models call are real, and calling any other
one raises `NotImplementedError` that names it. A compiled mmcv keeps its own ops.

This package imports torch, torchvision and NumPy alone: it can be used without depthbench.
"""

from __future__ import annotations

from .finder import install
from .missing import missing_ops

__all__ = ["install", "missing_ops"]
