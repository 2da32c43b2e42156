"""A pickle of anybody's, read without importing or calling anything that it names."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from typing import IO, Any


class Absent:
    """Stands for an object that only its own class could make: whatever is asked of it is ignored.

    Neither it nor its class takes attributes from a pickle, which could otherwise give it a
    ``__setstate__`` of its own for the unpickler to call.
    """

    __slots__ = ()

    def __new__(cls, *values: Any, **named: Any) -> Any:
        """Take anything."""
        return super().__new__(cls)

    @staticmethod
    def __setstate__(state: Any) -> None:
        """Answers for the class as well, where a pickle sets the state of that."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """For the pickles of mappings."""

    def append(self, value: Any) -> None:
        """For the pickles of lists and deques."""

    def extend(self, values: Any) -> None:
        """The same, many at once."""


class InertUnpickler(pickle.Unpickler):
    """Reads containers, numbers, texts and bytes; everything else becomes an :class:`Absent`.

    Attributes:
        absent: the names of what was not made, in the order of the file, and their stand-ins.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.absent: dict[str, type[Absent]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """The class of ordered mappings, or a stand-in."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        stand_in = type("Absent", (Absent,), {"__slots__": ()})
        return self.absent.setdefault(f"{module}.{name}", stand_in)

    def persistent_load(self, pid: Any) -> Any:
        """A tensor's storage: not opened."""
        return None
