"""The tensors of a checkpoint file, whoever wrote it."""

from __future__ import annotations

import json
import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks.errors import UserError
from tasks.openmmlab.safe_globals import allow_checkpoints

_INSIDE = ("state_dict", "model")
"""Keys that checkpoints of mmengine and timm, and of torchvision's references, keep tensors by."""
_UNSUPPORTED = re.compile(r"GLOBAL ([\w.]+)")
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU.

    Reads what ``torch.save`` wrote, without running code that the file may hold, and safetensors
    (told by the suffix).

    Raises:
        UserError: the file is absent, no checkpoint, or holds other Python objects.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}: give the path of a file")
    content = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    for key in _INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = (
        {name: value for name, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise UserError(f"{path} is a file of torch without a state_dict: give a checkpoint")
    return tensors


def _torch(path: Path) -> Any:
    allow_checkpoints()
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = _UNSUPPORTED.search(str(error))
        if found:
            raise UserError(
                f"{path} holds the Python object {found.group(1)}, which is not loaded from a "
                "file: save the state_dict alone with torch.save"
            ) from error
        raise UserError(_damaged(path)) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise UserError(_damaged(path)) from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    """Format: 8 bytes of header length, a JSON header, then the tensors' bytes, little-endian."""
    data = bytearray(path.read_bytes())
    try:
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        tensors = {}
        for name, entry in header.items():
            if name != "__metadata__":
                shape, (first, last) = entry["shape"], entry["data_offsets"]
                dtype = _DTYPES[entry["dtype"]]
                count = math.prod(shape)
                if last - first != count * dtype.itemsize:
                    raise ValueError(name)
                flat = (
                    torch.frombuffer(data, dtype=dtype, count=count, offset=start + first)
                    if count
                    else torch.empty(0, dtype=dtype)
                )
                tensors[name] = flat.view(shape)
        return tensors
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(_damaged(path)) from error


def _damaged(path: Path) -> str:
    return f"{path} is damaged or no checkpoint: download it again, or name another file"
