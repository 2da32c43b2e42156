"""What Linux says about the cores: who used them, and how long this process waited for one.

All figures are totals that only grow; the difference of two readings is what passed between them.
A file that the system does not have leaves its figure None, which is unknown and not 0.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_NANO, _MICRO = 1e9, 1e6
_BUSY = (0, 1, 2, 5, 6)
"""Fields of a line of ``/proc/stat``: user (guests included), nice, system, irq, softirq."""
_STEAL = 7


@dataclass(frozen=True)
class Reading:
    """Totals up to a moment, in seconds; None where the system does not say.

    Attributes:
        seconds: of the clock.
        waited: in which threads of this process and of its descendants were runnable and had no
            core, summed over threads (``schedstat``). A thread that starts and ends between two
            readings is missed.
        cpu: CPU time of this process and its descendants.
        busy: CPU time of everything on the cores that this process may use.
        busy_machine: CPU time of everything on all cores.
        steal: taken by the hypervisor from the cores that this process may use.
        throttled: in which the CPU limit of a control group held threads back, summed over cores.
        pressure: in which some thread of the machine waited for a core (PSI).
        runnable: integral over time of the number of runnable threads of the machine, as sampled.
        load: the load average of the last minute; not a total.
        stopped: in which this process was stopped; the clock of ``seconds`` may leave them out.
    """

    seconds: float
    waited: float | None = None
    cpu: float | None = None
    busy: float | None = None
    busy_machine: float | None = None
    steal: float | None = None
    throttled: float | None = None
    pressure: float | None = None
    runnable: float | None = None
    load: float | None = None
    stopped: float = 0.0


class Machine:
    """Reads ``/proc`` and the control groups; may be called from several threads.

    Args:
        proc: the proc file system.
        cgroups: where control groups are mounted.
        cores: those that this process may use; None reads it from the system.
        tick: seconds of one unit of ``/proc/stat``; None reads it from the system.
        clock: seconds, never going backwards.
    """

    def __init__(
        self,
        proc: str | Path = "/proc",
        cgroups: str | Path = "/sys/fs/cgroup",
        cores: Collection[int] | None = None,
        tick: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._proc, self._clock = Path(proc), clock
        self.cores = usable_cores() if cores is None else frozenset(cores)
        self._tick = tick or 1 / os.sysconf("SC_CLK_TCK")
        self._limits = list(_limits(self._proc, Path(cgroups)))
        self._lock = threading.Lock()
        self._waited: dict[str, int] = {}
        self._waited_before = 0
        self._cpu = 0.0
        self._runnable = 0.0
        self._last: tuple[float, int] | None = None

    def read(self) -> Reading:
        """The totals now."""
        with self._lock:
            now = self._clock()
            waited, cpu = self._own()
            busy, busy_machine, steal, runnable = self._cores_used()
            return Reading(
                seconds=now,
                waited=waited,
                cpu=cpu,
                busy=busy,
                busy_machine=busy_machine,
                steal=steal,
                throttled=self._throttled(),
                pressure=self._pressure(),
                runnable=self._runnable_until(now, runnable),
                load=self._load(),
            )

    def _own(self) -> tuple[float | None, float | None]:
        """Waiting and CPU time of this process and of all its descendants."""
        waiting: dict[str, int] = {}
        ticks, known = 0, True
        queue, seen = ["self"], set()
        while queue:
            process = queue.pop()
            if process in seen:
                continue
            seen.add(process)
            folder = self._proc / process
            try:
                # Behind the name, which may hold spaces; user, system, and of reaped children both.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))
                threads = os.listdir(folder / "task")
            except (OSError, ValueError, IndexError):
                known = known and process != "self"
                continue
            for thread in threads:
                own = folder / "task" / thread
                with suppress(OSError):
                    queue += (own / "children").read_text().split()
                with suppress(OSError, ValueError, IndexError):
                    waiting[thread] = int((own / "schedstat").read_text().split()[1])
        if not known:
            return None, None
        self._cpu = max(self._cpu, ticks * self._tick)
        return self._waited_by(waiting), self._cpu

    def _waited_by(self, now: dict[str, int]) -> float | None:
        """Seconds waited, those of threads that have ended included; None without any figure."""
        for thread, before in self._waited.items():
            if now.get(thread, -1) < before:  # it ended, and another may have its number
                self._waited_before += before
        self._waited = now
        return (self._waited_before + sum(now.values())) / _NANO if now else None

    def _cores_used(self) -> tuple[float | None, float | None, float | None, int | None]:
        """Busy on the usable cores and on all, steal on the usable ones, runnable threads."""
        busy, everywhere, steal, runnable = 0, 0, 0, None
        try:
            lines = (self._proc / "stat").read_text().splitlines()
            for line in lines:
                name, *fields = line.split()
                if name == "procs_running":
                    runnable = int(fields[0])
                elif name.startswith("cpu") and name != "cpu":
                    used = sum(int(fields[i]) for i in _BUSY)
                    everywhere += used
                    if int(name[3:]) in self.cores:
                        busy += used
                        steal += int(fields[_STEAL])
        except (OSError, ValueError, IndexError):
            return None, None, None, None
        if not everywhere:  # a sandbox that shows zeros
            return None, None, None, runnable
        return busy * self._tick, everywhere * self._tick, steal * self._tick, runnable

    def _runnable_until(self, now: float, count: int | None) -> float | None:
        if count is None:
            return None
        if self._last is not None:
            then, before = self._last
            self._runnable += (now - then) * (before + count) / 2
        self._last = (now, count)
        return self._runnable

    def _throttled(self) -> float | None:
        total = None
        for file in self._limits:
            try:
                values = dict(line.split() for line in file.read_text().splitlines())
            except (OSError, ValueError):
                continue
            for key, unit in (("throttled_usec", _MICRO), ("throttled_time", _NANO)):
                if key in values:
                    total = (total or 0.0) + int(values[key]) / unit
        return total

    def _pressure(self) -> float | None:
        try:
            some = (self._proc / "pressure" / "cpu").read_text().splitlines()[0]
            return int(some.rpartition("total=")[2]) / _MICRO
        except (OSError, ValueError, IndexError):
            return None

    def _load(self) -> float | None:
        try:
            return float((self._proc / "loadavg").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None


def usable_cores() -> frozenset[int]:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _limits(proc: Path, cgroups: Path) -> Iterator[Path]:
    """``cpu.stat`` of this process's control groups and of all that they lie in."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number != "0" and "cpu" not in controllers.split(","):
            continue
        mounts = [controllers, "cpu"] if controllers else ["", "unified"]
        for mount in dict.fromkeys(mounts):
            top = cgroups / mount
            folder = top / path.lstrip("/")
            for each in (folder, *folder.parents):
                if (each / "cpu.stat").is_file():
                    yield each / "cpu.stat"
                if each == top:
                    break
