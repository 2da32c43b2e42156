"""Whether others held the cores while something was measured.

A window is flagged when its threads waited for a core that others had. Wall time against CPU time
would not tell: a run on a GPU, or one that waits for data, sleeps on a quiet machine too. Nor does
waiting alone: a process with more threads than cores waits for itself. So the waiting counts only
as far as others used the cores: as CPU time of other processes, as steal of the hypervisor, or by
the CPU limit of a control group.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from benchmarks.meters.machine import Machine, Reading
from benchmarks.meters.sampler import Sampler
from benchmarks.meters.stops import INTERVAL, RunningClock
from benchmarks.meters.windows import Key, Windows, flat, nested
from benchmarks.records.row import BUSY, METRICS, Measurement, noted

WAITED = 0.05
"""Share of a window's wall time that threads may wait for cores that others hold."""
HELD = 0.5
"""Share of the cores' time that others have at least where their load exceeds the cores."""
STOLEN = 0.03
"""Share of the CPU time of a window that the hypervisor may take."""
TICK, TICKS = 0.01, 0.03
"""Seconds: counts in ticks of 10 ms say nothing below one, and little below three."""
COMPANY = 0.1
"""Share of the machine's CPU time that others may have in a measurement of the CPU's energy."""
_LOOK = 1.0
"""Seconds between two looks in the background, which see threads that end within a window."""

_WINDOWS = {
    "train_time": "train",
    "data_time": "train",
    "warmup_time": "first_step",
    "eval_time": "evaluate",
    "checkpoint_time": "checkpoint",
    "counting_time": "counted",
    "charged_time": "train",
    "unbudgeted_time": "outside",
    "total_time": "",
}
"""Metric of time to its window; empty for all of a phase."""


@dataclass
class Contention:
    """What passed in a window, in seconds; None where part of it is not known.

    Attributes:
        seconds: wall time, without stops.
        waited: of threads in the queue for a core, summed over threads.
        cpu: CPU time of the process and its descendants.
        others: CPU time of other processes on the cores that the process may use.
        others_machine: the same on all cores.
        steal: taken by the hypervisor.
        throttled: threads held back by the CPU limit of a control group.
        pressure: some thread of the machine waited for a core.
        runnable: thread-seconds of runnable threads of the machine.
        load: the largest load average seen at the window's ends; no sum.
        stopped: the process was stopped; no part of the wall time.
    """

    seconds: float = 0.0
    waited: float | None = 0.0
    cpu: float | None = 0.0
    others: float | None = 0.0
    others_machine: float | None = 0.0
    steal: float | None = 0.0
    throttled: float | None = 0.0
    pressure: float | None = 0.0
    runnable: float | None = 0.0
    load: float | None = None
    stopped: float = 0.0


def between(start: Reading, end: Reading) -> Contention:
    """What passed between two readings."""
    passed: dict[str, Any] = {
        name: None if None in (old, new) else max(0.0, new - old)
        for name, old, new in (
            (field.name, getattr(start, field.name), getattr(end, field.name))
            for field in fields(Reading)
            if field.name != "load"
        )
    }
    cpu, busy, everywhere = passed["cpu"], passed.pop("busy"), passed.pop("busy_machine")
    return Contention(
        **passed,
        others=_rest(busy, cpu),
        others_machine=_rest(everywhere, cpu),
        load=_largest(start.load, end.load),
    )


def summed(first: Contention, second: Contention) -> Contention:
    """Two stretches as one."""
    total: dict[str, Any] = {}
    for field in fields(Contention):
        a, b = getattr(first, field.name), getattr(second, field.name)
        total[field.name] = None if None in (a, b) else a + b
    total["load"] = _largest(first.load, second.load)
    return Contention(**total)


def held_up(found: Contention, cores: int) -> float | None:
    """Thread-seconds in which threads waited for cores that others held; None if not known.

    Where the system does not say how long threads waited, threads beyond the number of cores, or
    the pressure on the machine, stand in for it.
    """
    waited = found.waited
    if waited is None:
        queue = None if found.runnable is None else found.runnable - cores * found.seconds
        waited = found.pressure if found.pressure is not None else queue
    if waited is None or found.others is None:
        return None
    taken = found.others + (found.steal or 0.0) + (found.throttled or 0.0)
    return max(0.0, min(waited, taken))


def crowd(found: Contention) -> float | None:
    """Runnable threads of other processes, on average; None if not known.

    It is the load that others make, without the load average's lag of a minute.
    """
    if None in (found.runnable, found.cpu) or not found.seconds:
        return None
    own = (found.cpu or 0.0) + (found.waited or 0.0)
    return max(0.0, (found.runnable or 0.0) - own) / found.seconds


def busy_reason(found: Contention, cores: int, of_machine: bool = False) -> str:
    """What held the process up, as the note of a row; empty where nothing did, or is known.

    Args:
        found: what passed in the window.
        cores: how many the process may use.
        of_machine: whether the measurement is of the whole machine, such as the CPU's energy, so
            that the CPU time of others is part of the value.
    """
    parts = []
    lost = held_up(found, cores)
    if lost is not None and lost >= TICK and lost > WAITED * found.seconds:
        what = "threads" if found.waited is not None else "threads of the machine"
        waited = found.waited if found.waited is not None else lost
        parts.append(f"{what} waited {waited:.2g} s in {found.seconds:.2g} s for a core")
    elif (others := crowd(found)) is not None and others > cores:
        if (found.others or 0.0) > HELD * cores * found.seconds:
            parts.append(f"other processes had {others:.1f} runnable threads")
    if found.steal is not None and found.steal >= TICKS:
        used = found.steal + (found.cpu or 0.0) + (found.others or 0.0)
        if found.steal > STOLEN * used:
            parts.append(f"the hypervisor took {found.steal / used:.0%} of the CPU time")
    if of_machine and found.others_machine is not None and found.others_machine >= TICKS:
        share = found.others_machine / (found.others_machine + (found.cpu or 0.0))
        if share > COMPANY:
            parts.append(f"{share:.0%} of the CPU time was that of other processes")
    if not parts:
        return ""
    if found.throttled and found.throttled > WAITED * found.seconds:
        parts.append(f"{found.throttled:.2g} s of it by the CPU limit of the control group")
    if found.load is not None:
        parts.append(f"load {found.load:.1f} on {cores} core{'s' * (cores > 1)}")
    return f"{BUSY}: {', '.join(parts)}"


class Watch:
    """Watches the machine over one measurement.

    Args:
        machine: what is read at both ends; None for the real one.
    """

    def __init__(self, machine: Machine | None = None) -> None:
        self._machine = machine or Machine()
        self._start = self._machine.read()

    def verdict(self, of_machine: bool = False) -> tuple[float, str]:
        """The share of the time since then that was lost to others, and :func:`busy_reason`."""
        found = between(self._start, self._machine.read())
        cores = len(self._machine.cores)
        lost = (held_up(found, cores) or 0.0) + (found.steal or 0.0)
        share = lost / found.seconds if found.seconds else 0.0
        return share, busy_reason(found, cores, of_machine)


class ContentionMeter(Windows[Reading]):
    """What others took from a run, by phase and window; and the clock that leaves out stops.

    Args:
        machine: what is read at boundaries; None for the real one.
        interval: seconds between beats of the clock; None never beats.
    """

    def __init__(self, machine: Machine | None = None, interval: float | None = INTERVAL) -> None:
        super().__init__()
        self.clock = RunningClock()
        self._machine = machine or Machine(clock=self.clock)
        self._found: dict[Key, Contention] = {}
        self._sampler = Sampler(self._beat, interval)
        self._look_at = 0.0
        self._stopped_seen = 0.0

    def start(self) -> None:
        """Follow stops, and threads that come and go, in the background."""
        self._sampler.start()

    def stop(self) -> None:
        """Book what is open and stop following."""
        self.flush()
        self._sampler.stop()
        self.clock.end()

    def without_stop(self, seconds: float) -> float:
        """Seconds that the caller timed by a clock of its own, without a stop within them.

        A stop since the last call that is not longer than they are is taken to lie within them.
        """
        new = self.clock.stopped - self._stopped_seen
        self._stopped_seen += new
        return seconds - new if seconds >= new else seconds

    def found(self, phase: str | None = None, window: str = "") -> Contention:
        """What passed so far in a window, or (empty) in all; in one phase or (None) in all."""
        total = Contention()
        for (owner, name), each in self._found.items():
            if phase in (None, owner) and window in ("", name):
                total = summed(total, each)
        return total

    def flagged(self, phase: str, measurement: Measurement) -> Measurement:
        """The measurement, noted where the machine was busy or an energy has a stop in it."""
        base, _, condition = measurement.metric.partition("@")
        window = condition or "train" if base.startswith("energy_") else _WINDOWS.get(base)
        if window is None or measurement.value is None or METRICS[base].unit not in ("s", "J"):
            return measurement
        found = self.found(phase, window)
        of_machine = base == "energy_cpu_package"
        if found.stopped and METRICS[base].unit == "J":
            stopped = f"{found.stopped:.1f} s in which the process was stopped included"
            measurement = noted(measurement, stopped)
        return noted(measurement, busy_reason(found, len(self._machine.cores), of_machine))

    def measurements(self, phase: str | None = None) -> list[Measurement]:
        """No rows: the figures are in the manifest, and the verdict in other meters' rows."""
        self.flush()
        return []

    def facts(self) -> dict[str, Any]:
        """For the manifest: the figures of every window, by phase; None is unknown."""
        windows: dict[str, dict[str, Any]] = {}
        cores = len(self._machine.cores)
        for (phase, name), found in self._found.items():
            windows.setdefault(phase, {})[name] = {
                **{k: v if v is None else round(v, 3) for k, v in asdict(found).items()},
                "busy": busy_reason(found, cores)
                or ("unknown" if held_up(found, cores) is None else ""),
            }
        stopped = round(self.found().stopped, 3)
        return {"cores": cores, "stopped": stopped, "windows": windows}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to add on."""
        self.flush()
        return {"windows": nested({key: asdict(found) for key, found in self._found.items()})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Add the windows of the run's earlier segments."""
        for key, values in flat(state["windows"]).items():
            self._found[key] = summed(self._found.get(key, Contention()), Contention(**values))

    def _beat(self) -> None:
        self.clock.beat()
        now = self.clock()
        if now >= self._look_at:
            self._machine.read()
            # On machines with many threads a look takes milliseconds: at most 0.1 % of the time.
            self._look_at = self.clock() + max(_LOOK, 1000 * (self.clock() - now))

    def _read(self) -> Reading:
        return replace(self._machine.read(), stopped=self.clock.stopped)

    def _book(self, key: Key, start: Reading, end: Reading) -> None:
        self._found[key] = summed(self._found.get(key, Contention()), between(start, end))


def _rest(whole: float | None, part: float | None) -> float | None:
    return None if whole is None or part is None else max(0.0, whole - part)


def _largest(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None
