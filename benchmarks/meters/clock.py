"""Where a run's seconds went."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.meters.modes import synchronize
from benchmarks.meters.windows import Key, Windows, flat, nested
from benchmarks.records.row import Measurement

OUTSIDE = "outside"
"""The window of what a method does where no budget is charged."""

_ROWS = {
    "first_step": "warmup_time",
    "evaluate": "eval_time",
    "checkpoint": "checkpoint_time",
    "data": "data_time",
    "counted": "counting_time",
    OUTSIDE: "unbudgeted_time",
}
"""Window to metric; ``train`` has its own rule."""


class TimeLedger(Windows[float]):
    """Seconds by phase and window on the monotonic clock.

    The windows are ``first_step`` (warm-up of the first iteration: cudnn search, compilation),
    ``train``, ``counted`` (steps whose operations are counted, which slows them), ``evaluate``,
    ``checkpoint`` and ``outside`` (a method's work that no budget is charged for); others are kept
    but have no row. ``data`` is filled by ``add``. The device is synchronised where a window opens
    or closes and nowhere else.

    Args:
        device: the device whose queue a boundary waits for; None for none.
        clock: seconds, never going backwards.
    """

    metrics = ("train_time", *_ROWS.values(), "total_time")

    def __init__(
        self,
        device: torch.device | str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._device = torch.device(device) if device is not None else torch.device("cpu")
        self._clock = clock
        self._seconds: dict[Key, float] = defaultdict(float)

    def add(self, name: str, seconds: float) -> None:
        """Move seconds that the caller timed from the open window to ``name``.

        Cheap enough for every step: no clock is read and nothing waits. Without an open window
        the seconds are only added.
        """
        self._seconds[self._phase, name] += seconds
        if self._open:
            self._seconds[self._phase, self._open[-1]] -= seconds

    def move(self, seconds: float, name: str, to: str) -> None:
        """Book seconds of a window of the phase under way on another one."""
        self._seconds[self._phase, name] -= seconds
        self._seconds[self._phase, to] += seconds

    def booked(self, phase: str, name: str) -> float:
        """Seconds of a window of a phase up to its last boundary; nothing waits."""
        return self._seconds.get((phase, name), 0.0)

    def forget(self, phase: str) -> None:
        """Take a phase's seconds off the books."""
        for key in [key for key in self._seconds if key[0] == phase]:
            del self._seconds[key]

    def seconds(self, phase: str | None = None) -> dict[str, float]:
        """Seconds by window up to now, in one phase or (None) summed over all."""
        self.flush()
        out: dict[str, float] = defaultdict(float)
        for (owner, name), value in self._seconds.items():
            if phase in (None, owner):
                out[name] += value
        return dict(out)

    def train_seconds(self, phase: str | None = None) -> float:
        """Training time: ``train`` and the ``data`` it waited for, without the first step."""
        seconds = self.seconds(phase)
        return seconds.get("train", 0.0) + seconds.get("data", 0.0)

    def train_seconds_by_host(self) -> float:
        """The same over all phases by the host's clock: nothing waits, cheap in every step.

        The device may still have to do what the host has queued by now.
        """
        total = sum(v for (_, name), v in self._seconds.items() if name in ("train", "data"))
        if self._open and self._open[-1] == "train" and self._last is not None:
            total += self._clock() - self._last
        return total

    def measurements(self, phase: str | None = None) -> list[Measurement]:
        """``train_time``, ``warmup_time``, ``eval_time``, ... and ``total_time`` of a phase."""
        seconds = self.seconds(phase)
        rows = []
        if "train" in seconds:
            waiting = seconds.get("data", 0.0)
            note = f"{waiting:.3g} s of it waiting for data" if "data" in seconds else ""
            rows.append(Measurement("train_time", seconds["train"] + waiting, note))
        else:
            rows.append(Measurement("train_time", None, "nothing was trained in this phase"))
        for name, metric in _ROWS.items():
            missing = f"no '{name}' time was recorded in this phase"
            rows.append(Measurement(metric, seconds.get(name), "" if name in seconds else missing))
        rows.append(
            Measurement("total_time", sum(seconds.values()))
            if seconds
            else Measurement("total_time", None, "no time was recorded in this phase")
        )
        return rows

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to add on: all windows up to now."""
        self.flush()
        return {"seconds": nested(self._seconds)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Add the seconds of the run's earlier segments."""
        for key, value in flat(state["seconds"]).items():
            self._seconds[key] += value

    def _read(self) -> float:
        synchronize(self._device)
        return self._clock()

    def _book(self, key: Key, start: float, end: float) -> None:
        self._seconds[key] += end - start
