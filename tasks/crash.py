"""Unexpected exceptions as one sentence: what was raised, where, and where the traceback is."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import traceback

LIBRARIES = frozenset(
    (
        *("benchmarks", "click", "mmcv", "mmdet", "mmengine", "mmseg", "numpy", "PIL", "rich"),
        *("sklearn", "torch", "torchvision", "typer", "_frozen_importlib"),
    )
)
"""Packages that call methods and tasks, or are called by them; where they fail is of no help."""


def describe(error: BaseException, limit: int = 300) -> str:
    """``KeyError: 'lr' at mine.py:12``: on one line, at most about ``limit`` characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    place = where(error)
    return f"{text} at {place}" if place else text


def where(error: BaseException) -> str:
    """``FILE:LINE`` of the innermost frame in code of a method or task, else of any code."""
    frames = list(traceback.walk_tb(error.__traceback__))
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    own = [pair for pair in frames if not _is_library(pair[0].f_globals.get("__name__", ""))]
    for frame, line in reversed(own or frames):
        return f"{frame.f_code.co_filename}:{line}"
    return ""


def kept_traceback(error: BaseException) -> str:
    """Write the traceback to a temporary file: ``traceback in FILE``; empty if that fails."""
    with contextlib.suppress(OSError):
        handle, path = tempfile.mkstemp(prefix="depthbench-", suffix="-traceback.txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("".join(traceback.format_exception(error)))
        return f"traceback in {path}"
    return "the traceback could not be written to a temporary file"


def crash_sentence(error: BaseException) -> str:
    """What was raised, where, and where its traceback is kept."""
    return f"{describe(error)} ({kept_traceback(error)})"


def _is_library(module: str) -> bool:
    root = module.partition(".")[0]
    return root in LIBRARIES or root in sys.stdlib_module_names
