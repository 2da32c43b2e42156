"""The tensors of a checkpoint file, whoever wrote it."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import torch
from torch import Tensor

from tasks.errors import UserError
from tasks.files.checkpoints import damaged, load_foreign, tensors_of

log = logging.getLogger("depthbench")

_INSIDE = ("state_dict", "model")
"""Keys that checkpoints of mmengine and timm, and of torchvision's references, keep tensors by."""
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
    (known by the suffix). Objects beside the tensors are dropped, and the log names them.

    Raises:
        UserError: the file is absent, or no checkpoint.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}: give the path of a file")
    if path.suffix == ".safetensors":
        return _safetensors(path)
    foreign = load_foreign(path)
    tensors = tensors_of(foreign.content, _INSIDE)
    if not tensors:
        held = f" (it holds {', '.join(foreign.dropped[:3])})" if foreign.dropped else ""
        raise UserError(f"{path} is a file of torch without a state_dict{held}: give a checkpoint")
    if foreign.dropped:
        log.info("%s: took the tensors, dropped %s", path.name, ", ".join(foreign.dropped))
    return tensors


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
        raise UserError(damaged(path)) from error
