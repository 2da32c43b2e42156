"""Which line of code makes the host wait."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch

_OURS = ("benchmarks/", "methods/", "tasks/")
_GPUS = {str(Path(__file__).with_name(f"{name}.py")) for name in ("fake_gpu", "places", "real_gpu")}
_ROOT = Path(__file__).parents[2]
_PACKAGES = Path(str(torch.__file__)).parents[1]
_TORCH = f"{_PACKAGES / 'torch'}/"
_PYTHON = str(Path(contextlib.__file__).parent)


def place() -> str:
    """The innermost line under way that is of no GPU here, of neither torch nor Python itself.

    Returns:
        ``file:line``, the file within the project or within the environment's packages.
    """
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not _passed_over(name):
            for folder in (_PACKAGES, _ROOT):
                if Path(name).is_relative_to(folder):
                    name = str(Path(name).relative_to(folder))
                    break
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "the backward pass"


def _passed_over(name: str) -> bool:
    """Whether a file only calls on behalf of others."""
    if name.startswith(f"{_PACKAGES}/"):
        return name.startswith(_TORCH)
    return name.startswith(_PYTHON) or name in _GPUS


def of_ours(waits: dict[str, int]) -> dict[str, int]:
    """The waits in the project's own code; others are in the libraries."""
    return {at: n for at, n in waits.items() if at.split(" at ")[1].startswith(_OURS)}
