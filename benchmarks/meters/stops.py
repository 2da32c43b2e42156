"""A clock that leaves out the time in which the process was stopped.

SIGSTOP, a frozen container and a debugger stop every thread of a process, and the monotonic clock
goes on. A thread that wakes ten times a second sees that as a gap. It is a stop only if in the gap
the process used no CPU time and the thread neither stood in the queue for a core (a busy machine)
nor woke up to ask for the interpreter's lock (a long call into a library). Where the system does
not give these figures, the gap is counted as time. Linux's monotonic clock stands still while the
machine is suspended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

INTERVAL = 0.1
"""Seconds between two beats, and the error of the length of a stop."""
SHORTEST = 0.5
"""Seconds; shorter stops are counted as time."""
_IDLE = 0.1
"""Share of a gap that a stopped process may have used or waited, around the stop."""
_WAKES = 20
"""Wake-ups a second that tell a thread that waits for the interpreter's lock: it makes 200."""


class Activity(NamedTuple):
    """What a thread and its process have done so far."""

    cpu: float
    """Seconds of CPU time of the process."""
    waited: float
    """Seconds that the thread stood in the queue for a core."""
    wakes: int
    """Times that the thread gave up its core of its own accord, to wait for something."""


def activity() -> Activity | None:
    """The calling thread's; None where the system does not say."""
    try:
        import resource

        wakes = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        waited = int(Path("/proc/thread-self/schedstat").read_text().split()[1])
    except (ImportError, AttributeError, OSError, ValueError, IndexError):
        return None
    return Activity(time.process_time(), waited / 1e9, wakes)


class RunningClock:
    """Seconds on a monotonic clock, without those in which the process was stopped.

    A plain clock until a thread calls :meth:`beat` every ``INTERVAL`` seconds.

    Args:
        clock: seconds, never going backwards.
        look: the activity of the thread that calls :meth:`beat`.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        look: Callable[[], Activity | None] = activity,
    ) -> None:
        self._clock, self._look = clock, look
        self._seen: tuple[float, Activity | None] | None = None
        self._caught_up = threading.Event()
        self.stopped = 0.0
        """Seconds left out so far."""

    def __call__(self) -> float:
        """Seconds; those of a stop that has just ended are already left out."""
        seen = self._seen
        if seen is not None and self._clock() - seen[0] > SHORTEST:
            self._caught_up.clear()
            self._caught_up.wait(SHORTEST)
        return self._clock() - self.stopped

    def beat(self) -> None:
        """Look whether the process was stopped since the last beat."""
        now, done = self._clock(), self._look()
        if self._seen is not None:
            self.stopped += _stopped(now - self._seen[0], self._seen[1], done)
        self._seen = (now, done)
        self._caught_up.set()

    def end(self) -> None:
        """No more beats follow: a plain clock again, which keeps what it left out."""
        self._seen = None


def _stopped(gap: float, before: Activity | None, after: Activity | None) -> float:
    """Seconds of a gap between two beats in which the process was stopped."""
    if gap < SHORTEST + INTERVAL or before is None or after is None:
        return 0.0
    ran = after.cpu - before.cpu > _IDLE * gap
    queued = after.waited - before.waited > _IDLE * gap
    awake = after.wakes - before.wakes > _WAKES * gap
    # The stop began anywhere between two beats.
    return 0.0 if ran or queued or awake else gap - INTERVAL / 2
