"""What the fork server imports once, so that a run starts in milliseconds instead of seconds.

Names only: the parent process never imports them. Importing must create no CUDA context and no
thread pool, for neither survives a fork.
"""

from __future__ import annotations

PRELOAD: tuple[str, ...] = (
    "numpy",
    "torch",
    "torchvision",
    "torch.utils.flop_counter",
    "mmengine.runner",
    "sklearn.datasets",
    "benchmarks.planning",
    "benchmarks.run",
    "tasks.classification",
    "methods.blocks",
)
