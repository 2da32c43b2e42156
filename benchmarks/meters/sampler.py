"""A background thread that calls a function at an interval."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Sampler:
    """Calls ``function`` every ``interval`` seconds between ``start`` and ``stop``.

    Args:
        function: called in the thread; it must not raise.
        interval: seconds; None never starts a thread, for callers that sample themselves.
    """

    def __init__(self, function: Callable[[], object], interval: float | None) -> None:
        self._function = function
        self._interval = interval
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, once."""
        if self._interval is None or self._thread is not None:
            return
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it; nothing where none runs."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self._function()
