"""Energy of the CPU packages from the kernel's powercap counters (RAPL)."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.meters.sampler import Sampler
from benchmarks.meters.windows import Key, Windows, flat, nested
from benchmarks.records.row import Measurement

_METRIC = "energy_cpu_package"
FRESH = 0.1
"""Seconds for which a reading serves a budget, which reads in every step."""
MOST_WATTS = 1000.0
"""More than a CPU package draws: how soon its counter can wrap around follows from it."""


@dataclass(frozen=True)
class _Reading:
    """Joules so far, and in how many intervals a counter may have wrapped unseen."""

    joules: float
    lost: int


class RaplMeter(Windows[_Reading]):
    """Joules of all CPU packages by phase and window.

    Packages are summed; their parts (cores, memory) and the platform domain are left out, since
    packages hold the former and the latter overlaps. The counters wrap after some minutes at full
    load, so they are read in the background while the meter is started. Between two readings that
    are further apart than that, the number of wraps is unknown: such a window has no energy.

    Args:
        root: the powercap folder.
        interval: seconds between background readings; must be shorter than a wrap-around.
        clock: seconds, never going backwards.
    """

    metrics = (_METRIC,)

    def __init__(
        self,
        root: str | Path = "/sys/class/powercap",
        interval: float | None = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._read_at = -math.inf
        self._joules: dict[Key, float] = defaultdict(float)
        self._problems: dict[Key, str] = {}
        self._total = 0.0
        self._lost, self._problem = 0, ""
        self._lock = threading.Lock()
        self._domains: dict[str, _Domain] = {}
        self.unavailable = ""
        """Why there is no energy; empty where there is."""
        try:
            self._domains = _packages(Path(root))
            self._advance()
        except PermissionError:
            self.unavailable = "RAPL counters need root to read"
        except (OSError, ValueError) as error:
            self.unavailable = f"RAPL counters cannot be read: {error}"
        if not self.unavailable and not self._domains:
            self.unavailable = "no RAPL domain on this machine"
        self._sampler = Sampler(self._advance_safely, None if self.unavailable else interval)

    def start(self) -> None:
        """Follow the counters in the background."""
        self._sampler.start()

    def stop(self) -> None:
        """Book what is open and stop following."""
        self.flush()
        self._sampler.stop()

    def joules(self, phase: str | None = None) -> dict[str, float | None]:
        """Joules by window up to now, in one phase or (None) summed over all.

        None where part of them is missing.
        """
        self.flush()
        out: dict[str, float | None] = {}
        for key, value in self._joules.items():
            owner, name = key
            if phase in (None, owner):
                before = out.get(name, 0.0)
                known = before is not None and key not in self._problems
                out[name] = before + value if known and before is not None else None
        return out

    def booked(self, phase: str, name: str) -> float:
        """Joules of a window of a phase up to its last boundary."""
        return self._joules.get((phase, name), 0.0)

    def train_joules(self) -> float | None:
        """Joules of training over all phases, from counters read at most ``FRESH`` seconds ago.

        None where they cannot be had; :attr:`problem` then says why.
        """
        now = self._clock()
        if now - self._read_at >= FRESH:
            self._read_at = now
            self._advance_safely()
        total = sum(joules for (_, name), joules in self._joules.items() if name == "train")
        if self._open and self._open[-1] == "train" and self._last is not None:
            total += self._total - self._last.joules
        return None if self.problem else total

    @property
    def problem(self) -> str:
        """Why the energy of training is not known."""
        of_training = (why for (_, name), why in self._problems.items() if name == "train")
        lost = ""
        if self.innermost == "train" and self._last is not None and self._lost > self._last.lost:
            lost = self._problem
        return self.unavailable or next(of_training, lost)

    def measurements(self, phase: str | None = None) -> list[Measurement]:
        """Rows of a phase: training without a condition, other windows as ``...@window``."""
        joules = self.joules(phase)
        if self.unavailable:
            return [Measurement(_METRIC, None, self.unavailable)]
        note = f"{len(self._domains)} package(s), whatever else ran on them included"
        rows = []
        if "train" not in joules:
            rows.append(Measurement(_METRIC, None, "nothing was trained in this phase"))
        for name, value in joules.items():
            metric = _METRIC + ("" if name == "train" else f"@{name}")
            why = note if value is not None else self._why(phase, name)
            rows.append(Measurement(metric, value, why))
        return rows

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to add on."""
        self.flush()
        return {
            "joules": nested(self._joules),
            "problems": nested(self._problems),
            "unavailable": self.unavailable,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Add the energy of the run's earlier segments."""
        for key, value in flat(state["joules"]).items():
            self._joules[key] += value
        self._problems |= flat(state["problems"])
        if state["unavailable"] and not self.unavailable:
            self.unavailable = f"an earlier part of the run had none: {state['unavailable']}"

    def _read(self) -> _Reading:
        self._advance_safely()
        with self._lock:
            return _Reading(self._total, self._lost)

    def _book(self, key: Key, start: _Reading, end: _Reading) -> None:
        self._joules[key] += end.joules - start.joules
        if end.lost > start.lost:
            self._problems.setdefault(key, self._problem)

    def _why(self, phase: str | None, window: str) -> str:
        found = self._problems.items()
        return next(w for (p, name), w in found if name == window and phase in (None, p))

    def _advance(self) -> None:
        with self._lock:
            now = self._clock()
            gap = max(domain.gap(now) for domain in self._domains.values()) if self._domains else 0
            self._total = sum(domain.advance(now) for domain in self._domains.values())
            if gap:
                self._lost += 1
                self._problem = (
                    f"the RAPL counters were not read for {gap:.0f} s, long enough to wrap around "
                    "unseen"
                )

    def _advance_safely(self) -> None:
        if self.unavailable:
            return
        try:
            self._advance()
        except (OSError, ValueError) as error:
            self.unavailable = f"RAPL counters could no longer be read: {error}"


class _Domain:
    """One wrapping counter, unwrapped."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last: tuple[float, int] | None = None
        self._microjoules = 0

    def gap(self, now: float) -> float:
        """Seconds since the last reading, if long enough to wrap unseen; else 0."""
        passed = 0.0 if self._last is None else now - self._last[0]
        return passed if passed * MOST_WATTS * 1e6 > self._range else 0.0

    def advance(self, now: float) -> float:
        """Joules since the first call."""
        shown = int(self._file.read_text())
        if self._last is not None:
            self._microjoules += (shown - self._last[1]) % self._range
        self._last = (now, shown)
        return self._microjoules / 1e6


def _packages(root: Path) -> dict[str, _Domain]:
    """Package domains by name; the memory-mapped interface repeats them and comes second."""
    found: dict[str, _Domain] = {}
    for folder in sorted(root.glob("*:*"), key=lambda f: ("mmio" in f.name, f.name)):
        if not (folder / "name").is_file():
            continue
        name = (folder / "name").read_text().strip()
        if name.startswith("package") and name not in found:
            found[name] = _Domain(folder)
    return found
