"""What mmengine's checkpoints hold besides tensors and plain values."""

from __future__ import annotations

import numpy as np
import torch
from mmengine.logging import HistoryBuffer


def allow_checkpoints() -> None:
    """Let ``torch.load`` with ``weights_only`` read mmengine's message hub, from here on.

    For the whole process: torch's context manager would on leaving also forbid what was allowed
    before, and with it going on from a checkpoint.
    """
    torch.serialization.add_safe_globals(
        [
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
    )
