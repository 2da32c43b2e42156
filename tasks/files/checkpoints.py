"""Files of torch: our own checkpoints, and the tensors of anybody's.

``torch.load`` reads tensors and plain values, and calls what is on its list of safe globals. The
list is never added to: with ``getattr`` and one class of mmengine's on it a file runs any code.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import torch
from torch import Tensor

from tasks.errors import UserError
from tasks.files.inert import Absent, InertUnpickler

_DAMAGED = (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError)
"""What the readers make of a file that is cut short, altered, or of another kind."""
_UNSUPPORTED = re.compile(r"GLOBAL ([\w.]+)")
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def load_plain(path: Path | IO[bytes], mmap: bool = False) -> Any:
    """What ``torch.save`` wrote of tensors and plain values, on the CPU.

    Args:
        path: of the file, or a file that is open.
        mmap: leave tensors in the file until they are used.

    Raises:
        UserError: the file is damaged, or holds other objects, which are not made.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        found = _UNSUPPORTED.search(str(error))
        if found:
            raise UserError(
                f"{path} holds the Python object {found[1]}, which is not loaded from a file: "
                "save the state_dict alone with torch.save"
            ) from error
        raise UserError(damaged(path)) from error
    except _DAMAGED as error:
        raise UserError(damaged(path)) from error


def damaged(path: Path | IO[bytes]) -> str:
    """What to say of a file that cannot be read."""
    return f"{path} is damaged or no checkpoint: download it again, or name another file"


@dataclass(frozen=True)
class Foreign:
    """What another program's checkpoint holds.

    Attributes:
        content: containers, tensors and plain values, and stand-ins for everything else.
        dropped: the names of the classes and functions that were neither imported nor called.
    """

    content: Any
    dropped: tuple[str, ...] = ()


def load_foreign(path: Path) -> Foreign:
    """A checkpoint that may hold objects besides tensors, as those of mmengine do.

    Tensors are made from the bytes of the archive here, and nothing that the file names is
    imported or called. Files from before torch 1.6 are read if they hold plain values alone.

    Raises:
        UserError: the file is damaged, a program (TorchScript), or no checkpoint.
    """
    try:
        if not zipfile.is_zipfile(path):
            return Foreign(load_plain(path))
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            records = [
                name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")
            ]
            if len(records) != 1 or any(name.endswith("/constants.pkl") for name in names):
                raise UserError(
                    f"{path} is no checkpoint of tensors (a program of TorchScript, or another "
                    "archive): save its state_dict with torch.save"
                )
            folder = records[0].partition("/")[0]
            if f"{folder}/byteorder" in names and archive.read(f"{folder}/byteorder") != b"little":
                raise UserError(f"{path} was written by a big-endian machine: save it on this one")
            with archive.open(records[0]) as file:
                reader = _Tensors(file, archive, folder)
                return Foreign(reader.load(), tuple(reader.absent))
    except (pickle.UnpicklingError, zipfile.BadZipFile, NotImplementedError, *_DAMAGED) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(damaged(path)) from error


def tensors_of(content: Any, keys: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name: under the first of ``keys`` that it has, or its own."""
    for key in keys:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        return {}
    return {
        name: value.detach()
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }


class _Strided(Absent):
    """``torch._utils._rebuild_tensor_v2``: a view of a storage."""

    __slots__ = ()

    def __new__(cls, storage: Tensor, offset: int, size: Any, stride: Any, *rest: Any) -> Tensor:
        return storage.as_strided(tuple(size), tuple(stride), offset)


class _Parameter(Absent):
    """``torch._utils._rebuild_parameter``: its tensor."""

    __slots__ = ()

    def __new__(cls, data: Tensor, *rest: Any) -> Tensor:
        return data


class _Tensors(InertUnpickler):
    """Makes tensors as well, each from the bytes of its own member of the archive."""

    _REBUILDS: ClassVar = {
        "_rebuild_tensor": _Strided,
        "_rebuild_tensor_v2": _Strided,
        "_rebuild_parameter": _Parameter,
        "_rebuild_parameter_with_state": _Parameter,
    }

    def __init__(self, file: IO[bytes], archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        self._archive, self._folder = archive, folder
        self._storages: dict[tuple[str, torch.dtype], Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """A tensor's own functions, done here, and the dtypes of storages."""
        if module == "torch._utils" and name in self._REBUILDS:
            return self._REBUILDS[name]
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Tensor:
        """The values of a storage, flat."""
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise ValueError(f"no storage: {kind}")
        if (key, dtype) not in self._storages:
            member = self._archive.getinfo(f"{self._folder}/data/{key}")
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError("torch compresses nothing")
            data = bytearray(self._archive.read(member))
            flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            self._storages[key, dtype] = flat
        return self._storages[key, dtype]
