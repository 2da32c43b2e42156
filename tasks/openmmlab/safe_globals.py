"""What mmengine's checkpoints hold besides tensors and plain values."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer

CHECKPOINT_GLOBALS: list[Any] = [
    HistoryBuffer,
    np.ndarray,
    np.dtype,
    np.float64,
    np._core.multiarray._reconstruct,
    np._core.multiarray.scalar,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64")),
    # A history buffer names its methods through it; torch calls nothing that it returns.
    getattr,
]
"""torch loads with ``weights_only`` and needs to be told of these to read a message hub."""
