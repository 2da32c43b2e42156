"""Checkpoints of runs: whole or not there, of tensors and plain values only."""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.records.files import disk_errors
from tasks.errors import UserError

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` so that a kill at any moment leaves the last whole checkpoint.

    Raises:
        UserError: it holds an object that a checkpoint cannot, or the disk is full: then the
            draft is removed and the last checkpoint stays.
    """
    content = plain(content, "checkpoint")
    draft = path.with_suffix(".tmp")
    try:
        with disk_errors(path):
            with open(draft, "wb") as file:
                try:
                    torch.save(content, file)
                except RuntimeError as error:
                    # torch's writer calls the file's: what that raised may be only the cause.
                    if not isinstance(error.__context__, OSError):
                        raise
                    raise error.__context__ from None
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def plain(value: Any, name: str) -> Any:
    """``value`` of tensors and of what ``torch.load`` reads without trusting it.

    Numbers of numpy become Python's, and mappings dicts.

    Args:
        value: of a checkpoint.
        name: of the value in errors.

    Raises:
        UserError: it holds an object of another kind; names it.
    """
    if isinstance(value, torch.Tensor) or type(value) in _PLAIN:
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        items = {plain(k, name): plain(v, f"{name}[{k!r}]") for k, v in value.items()}
        metadata = getattr(value, "_metadata", None)
        if metadata is None:
            return items
        state = OrderedDict(items)
        state._metadata = metadata  # type: ignore[attr-defined]
        return state
    if isinstance(value, list):
        return [plain(item, f"{name}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, tuple):
        return tuple(plain(item, f"{name}[{index}]") for index, item in enumerate(value))
    if isinstance(value, set | frozenset):
        return {plain(item, name) for item in value}
    raise UserError(
        f"{name} is a {type(value).__module__}.{type(value).__qualname__}, and a checkpoint holds "
        "tensors, numbers, texts and containers of them: save it as one of these in "
        "before_save_checkpoint"
    )
