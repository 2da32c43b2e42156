"""Energy of the CPU packages from the kernel's powercap counters (RAPL)."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.meters.sampler import Sampler
from benchmarks.meters.windows import Key, Windows, flat, nested
from benchmarks.records import Measurement

_METRIC = "energy_cpu_package"
FRESH = 0.1
"""Seconds for which a reading serves a budget, which asks in every step."""


class RaplMeter(Windows[float]):
    """Joules of all CPU packages by phase and window.

    Packages are summed; their parts (cores, memory) and the platform domain are left out, since
    packages hold the former and the latter overlaps. The counters wrap after some minutes at full
    load, so they are read in the background while the meter is started.

    Args:
        root: the powercap folder.
        interval: seconds between background readings; must be shorter than a wrap-around.
        clock: seconds, never going backwards.
    """

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
        self._total = 0.0
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

    def joules(self, phase: str | None = None) -> dict[str, float]:
        """Joules by window up to now, in one phase or (None) summed over all."""
        self.flush()
        out: dict[str, float] = defaultdict(float)
        for (owner, name), value in self._joules.items():
            if phase in (None, owner):
                out[name] += value
        return dict(out)

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
            total += self._total - self._last
        return None if self.unavailable else total

    @property
    def problem(self) -> str:
        """Why there is no energy."""
        return self.unavailable

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
            rows.append(Measurement(_METRIC + ("" if name == "train" else f"@{name}"), value, note))
        return rows

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to add on."""
        self.flush()
        return {"joules": nested(self._joules), "unavailable": self.unavailable}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Add the energy of the run's earlier segments."""
        for key, value in flat(state["joules"]).items():
            self._joules[key] += value
        if state["unavailable"] and not self.unavailable:
            self.unavailable = f"an earlier part of the run had none: {state['unavailable']}"

    def _read(self) -> float:
        self._advance_safely()
        return self._total

    def _book(self, key: Key, start: float, end: float) -> None:
        self._joules[key] += end - start

    def _advance(self) -> None:
        with self._lock:
            self._total = sum(domain.advance() for domain in self._domains.values())

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
        self._last: int | None = None
        self._microjoules = 0

    def advance(self) -> float:
        """Joules since the first call."""
        now = int(self._file.read_text())
        if self._last is not None:
            self._microjoules += (now - self._last) % self._range
        self._last = now
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
