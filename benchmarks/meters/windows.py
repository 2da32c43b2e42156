"""Named exclusive windows over a running total, shared by the clock and the energy meters.

::

    phase "train"   |------ train ------|-- evaluate --|-- train --|- checkpoint -|-- train --|
    boundaries      ^                   ^              ^           ^              ^           ^

A window opened inside another takes its share out of the outer one, so that the windows of a run
sum to the whole: each boundary is read once, and is the end of one stretch and the start of the
next.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Generic, TypeVar

Reading = TypeVar("Reading")
Key = tuple[str, str]
"""Phase and window."""


class Windows(abc.ABC, Generic[Reading]):
    """Books what passes between two readings on the innermost open window.

    What passes outside every window is booked nowhere.
    """

    metrics: ClassVar[tuple[str, ...]] = ()
    """What the meter has rows of, should it fail."""

    def __init__(self) -> None:
        self._phase = "train"
        self._open: list[str] = []
        self._last: Reading | None = None

    @property
    def phase(self) -> str:
        """The phase of the run that windows are booked under."""
        return self._phase

    @phase.setter
    def phase(self, name: str) -> None:
        self.flush()
        self._phase = name
        if self._open:
            self._begin((name, self._open[-1]))

    @property
    def innermost(self) -> str:
        """The window that is booked on now; empty outside every window."""
        return self._open[-1] if self._open else ""

    @contextmanager
    def window(self, name: str) -> Iterator[None]:
        """Book everything in the block under ``name``, except for windows opened inside."""
        self.open(name)
        try:
            yield
        finally:
            self.close()

    def open(self, name: str) -> None:
        """Start a window; for callers that cannot use ``with`` (a hook before and one after)."""
        self._turn()
        self._open.append(name)
        self._begin((self._phase, name))

    def close(self) -> None:
        """End the innermost window."""
        if not self._open:
            raise RuntimeError("no window is open")
        self._turn()
        self._open.pop()
        if self._open:
            self._begin((self._phase, self._open[-1]))

    def flush(self) -> None:
        """Book what has passed so far on the open window, and leave it open."""
        if self._open:
            self._turn()

    def _turn(self) -> None:
        now = self._read()
        if self._open and self._last is not None:
            self._book((self._phase, self._open[-1]), self._last, now)
        self._last = now

    @abc.abstractmethod
    def _read(self) -> Reading:
        """The running total now."""

    @abc.abstractmethod
    def _book(self, key: Key, start: Reading, end: Reading) -> None:
        """Add what lies between two readings to a window's account."""

    def _begin(self, key: Key) -> None:
        """A stretch of a window starts."""


def nested(accounts: dict[Key, Any]) -> dict[str, dict[str, Any]]:
    """Accounts by phase and window, as JSON and checkpoints can hold them."""
    out: dict[str, dict[str, Any]] = {}
    for (phase, name), value in accounts.items():
        out.setdefault(phase, {})[name] = value
    return out


def flat(accounts: dict[str, dict[str, Any]]) -> dict[Key, Any]:
    """The inverse of ``nested``."""
    return {(p, name): value for p, named in accounts.items() for name, value in named.items()}
