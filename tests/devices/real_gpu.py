"""The first CUDA device, with torch's own report of what the host waits for."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from devices.places import place

GPU = torch.device("cuda:0")
_ITSELF = "set_sync_debug_mode"


class Log:
    """What the host waited for while it was on: see ``torch.cuda.set_sync_debug_mode``."""

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        self.launches = 0
        """Not counted on a real device."""
        self._on = False

    @property
    def on(self) -> bool:
        """Whether it logs."""
        return self._on

    @on.setter
    def on(self, on: bool) -> None:
        if on != self._on:
            torch.cuda.set_sync_debug_mode("warn" if on else "default")
        self._on = on

    def warned(self, message: Any, category: Any, filename: str, line: int, *_: Any) -> None:
        """In place of ``warnings.showwarning``."""
        text = str(message)
        if "synchronizing CUDA operation" in text:
            self.waits[f"wait at {place()}"] += 1
        elif _ITSELF not in text:
            print(f"{filename}:{line}: {text}", file=sys.stderr)


LOG = Log()


@contextmanager
def attached() -> Iterator[None]:
    """Log inside whatever a step waits for."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = LOG.warned  # type: ignore[assignment]
        yield
