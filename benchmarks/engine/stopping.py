"""Stopping on a signal: the command ends its run well, and says where to go on.

A command that trains has two processes. The one that was started takes the signals, and tells the
run's process, which finishes its training step, saves a checkpoint and leaves; anywhere else it
leaves at once. A second signal ends both.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Those that ask for an end, besides Ctrl-C: of ``kill``, a closed terminal, batch systems."""


class Stopped(KeyboardInterrupt):
    """The command was asked to stop, as Ctrl-C does.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def stop_signals() -> Iterator[None]:
    """Inside, :data:`SIGNALS` raise :class:`Stopped`; an ignored one stays so (``nohup``)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> NoReturn:
        raise Stopped(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler == signal.SIG_DFL:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler == signal.SIG_DFL:
                signal.signal(number, handler)


def exit_code(stop: KeyboardInterrupt) -> int:
    """What a command exits with that was stopped: 128 and the signal's number."""
    return 128 + getattr(stop, "number", signal.SIGINT)


class StopRun(BaseException):
    """Ends the run of this process; no error, so that nothing that catches errors keeps it.

    Args:
        number: of the signal.
        batch: after which there is a checkpoint now; None where none was saved.
        phase: of the batch.
    """

    def __init__(self, number: int, batch: int | None = None, phase: str = "") -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.batch, self.phase = number, batch, phase


class _RunProcess:
    """Whether this process was asked to stop, and whether that has to wait."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.deferring = False
        self.leaving = False
        self.tell: Callable[[bool], None] | None = None

    def listen(self, tell: Callable[[bool], None]) -> None:
        """Take :data:`SIGNALS` from here on.

        Args:
            tell: is called with whether a stop waits for a training step, when that changes.
        """
        self.tell = tell
        own = os.getpid()

        def stop(number: int, frame: Any) -> None:
            if os.getpid() != own:  # a reader of pictures: it ends with its run
                return
            self.number = self.number or number
            if not self.deferring and not self.leaving:
                self.leaving = True
                raise StopRun(number)

        for number in SIGNALS:
            signal.signal(number, stop)

    def defer(self, deferring: bool) -> None:
        """Let a stop wait for the training step under way, or no longer."""
        if self.tell is not None and deferring != self.deferring:
            self.deferring = deferring
            self.tell(deferring)


PROCESS = _RunProcess()


@contextmanager
def whole_steps() -> Iterator[None]:
    """Inside, a signal is only kept: :func:`requested` tells of it between training steps."""
    PROCESS.defer(True)
    try:
        yield
    finally:
        PROCESS.defer(False)


def requested() -> int | None:
    """The signal that asked this process to stop; None if there was none."""
    return PROCESS.number
