"""Device energy by phase and window: the driver's counter beside the integral of sampled power.

It is the energy of the device as its own sensors see it, not wall power. Idle draw is reported
beside it and never subtracted. Counter: ``nvmlDeviceGetTotalEnergyConsumption``; on how far power
readings can be trusted see Yang et al., "Part-time Power Measurements", arXiv 2312.02741.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.meters.energy_rows import METRICS, Account, account_rows, summed
from benchmarks.meters.modes import synchronize
from benchmarks.meters.nvml import NvmlDevice, NvmlError
from benchmarks.meters.sampler import Sampler
from benchmarks.meters.windows import Key, Windows, flat, nested
from benchmarks.records.row import Measurement


@dataclass(frozen=True)
class _Reading:
    """Totals at a boundary, and what went wrong since the boundary before."""

    seconds: float
    counter: float | None
    integral: float
    counter_problem: str
    integral_problem: str
    gap_seconds: float
    gap_joules: float


GAP = 1.0
"""Seconds between two samples of power from which on they are a gap, if that is five intervals."""


class EnergyMeter(Windows[_Reading]):
    """Joules of one GPU by phase and window.

    ``start`` begins to sample, ``window(name)`` or ``open`` and ``close`` book, ``stop`` ends. A
    boundary synchronises CUDA, then reads the counter once, so that windows sum to the whole.
    Without a usable device nothing raises: every row says why it is unavailable.

    Args:
        device: a CUDA device, its ordinal, or an NVML UUID; a CPU device has no energy here.
        interval: seconds between power samples; None to call ``sample`` oneself.
        nvml: the ``pynvml`` module or a stand-in; None imports it.
        clock: seconds, never going backwards.
        sleep: waits for seconds (idle measurement).
    """

    metrics = METRICS

    def __init__(
        self,
        device: torch.device | int | str,
        interval: float | None = 0.1,
        nvml: Any = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._sleep = sleep
        self._torch_device = _torch_device(device)
        self._device: NvmlDevice | None = None
        self.unavailable = ""
        """Why there is no energy at all; empty where there is a device."""
        self.problem = ""
        """Why the last call of :meth:`train_joules` gave none."""
        self.idle_watts: float | None = None
        if isinstance(device, torch.device | str) and str(device).startswith("cpu"):
            self.unavailable = "no CUDA device in this run"
        else:
            try:
                self._device = NvmlDevice(device, nvml)
            except NvmlError as error:
                self.unavailable = f"no NVML device: {error}"
        self._accounts: dict[Key, Account] = defaultdict(Account)
        self._lock = threading.Lock()
        self._sampler = Sampler(self.sample, interval if self._device else None)
        self._gap = max(GAP, 5 * (interval or 0.0))
        self._gap_seconds = self._gap_joules = 0.0
        self._power: tuple[float, float] | None = None
        self._watts: tuple[float, float] | None = None
        self._counter: float | None = None
        self._integral = 0.0
        self._counter_problem = self._integral_problem = ""
        self._notes: list[str] = []
        self._log: dict[str, Any] = {}
        if self._device is not None and self._device.slice_of:
            self._note("energy of the whole card, of which this run has a MIG slice")

    def start(self) -> None:
        """Start sampling power in the background."""
        self._observe("start")
        self._sampler.start()

    def stop(self) -> None:
        """Book what is open and stop sampling."""
        self.flush()
        self._sampler.stop()
        self._observe("stop")

    def measure_idle(self, seconds: float = 5.0, interval: float = 0.1) -> float | None:
        """Watts that the device draws before the run, averaged; None where it does not tell."""
        watts = []
        end = self._clock() + seconds
        while self._device is not None and self._clock() < end:
            try:
                watts.append(self._device.power())
            except NvmlError:
                break
            self._sleep(interval)
        for each in watts:
            self._seen(each)
        self.idle_watts = sum(watts) / len(watts) if watts else None
        return self.idle_watts

    def sample(self) -> None:
        """Read power and counter once, and carry the integral on (trapezoid rule).

        Over a gap between samples the rule is a guess: its length is kept, for the error.
        """
        if self._device is None:
            return
        with self._lock:
            now = self._clock()
            try:
                watts = self._device.power()
                if self._power is not None:
                    then, before = self._power
                    joules = (now - then) * (watts + before) / 2
                    self._integral += joules
                    if now - then > self._gap:
                        self._gap_seconds += now - then
                        self._gap_joules += joules
                self._power = (now, watts)
                self._seen(watts)
            except NvmlError as error:
                self._power = None
                self._integral_problem = f"power cannot be read: {error}"
            try:
                counter = self._device.energy()
                if self._counter is not None and counter < self._counter:
                    self._counter_problem = "the energy counter went backwards (driver reloaded?)"
                self._counter = counter
            except NvmlError as error:
                self._counter = None
                self._counter_problem = f"the energy counter cannot be read: {error}"

    def joules(self, phase: str | None = None, source: str = "counter") -> dict[str, float | None]:
        """Joules by window up to now; None where part of it is missing.

        Args:
            phase: one phase, or None for the sum over all.
            source: ``counter`` or ``integrated``.
        """
        self.flush()
        return {
            name: None if getattr(account, f"{source}_problem") else getattr(account, source)
            for name, account in self._by_window(phase).items()
        }

    def booked(self, phase: str, name: str) -> float:
        """Joules of a window of a phase up to its last boundary; nothing waits."""
        account = self._accounts.get((phase, name))
        return 0.0 if account is None else account.counter

    def train_joules(self) -> float | None:
        """Joules of training over all phases by the counter as it was last sampled.

        Nothing waits and the driver is not called, so that it is cheap in every step. None
        where part of them is missing; :attr:`problem` then says why.
        """
        with self._lock:
            counter, problem = self._counter, self._counter_problem
        total = 0.0
        for (_, name), account in self._accounts.items():
            if name == "train":
                total += account.counter
                problem = problem or account.counter_problem
        if self._open and self._open[-1] == "train":
            start = self._last.counter if self._last is not None else None
            if start is None or counter is None:
                problem = problem or "the energy counter was not read"
            else:
                total += counter - start
        self.problem = self.unavailable or problem
        return None if self.problem else total

    def measurements(self, phase: str | None = None) -> list[Measurement]:
        """Rows of a phase: training without a condition, other windows as ``...@window``."""
        self.flush()
        if self.unavailable:
            return [Measurement(metric, None, self.unavailable) for metric in METRICS]
        windows = self._by_window(phase)
        rows: list[Measurement] = []
        if "train" not in windows:
            reason = "nothing was trained in this phase"
            rows += [Measurement(metric, None, reason) for metric in METRICS]
        power = self._device.power_note if self._device else ""
        for name, account in windows.items():
            condition = "" if name == "train" else f"@{name}"
            rows += account_rows(
                account, condition, self._notes, power, self.idle_watts, self._range()
            )
        return rows

    def facts(self) -> dict[str, Any]:
        """For the manifest: the device's state at start and stop, power method, idle draw."""
        if self._device is None:
            return {"unavailable": self.unavailable}
        return {
            "power": self._device.power_note,
            "idle_watts": self.idle_watts,
            "notes": list(self._notes),
            **self._log,
        }

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to add on."""
        self.flush()
        return {
            "accounts": nested({key: asdict(a) for key, a in self._accounts.items()}),
            "device": self._device.name if self._device else "",
            "unavailable": self.unavailable,
            "idle_watts": self.idle_watts,
            "watts": self._watts,
            "notes": list(self._notes),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Add the energy of the run's earlier segments."""
        for key, values in flat(state["accounts"]).items():
            self._accounts[key] = summed(self._accounts[key], Account(**values))
        for note in state["notes"]:
            self._note(note)
        for watts in state["watts"] or ():
            self._seen(watts)
        name = self._device.name if self._device else ""
        if state["device"] and name and state["device"] != name:
            self._note(f"measured on two devices: {state['device']}, {name}")
        if state["unavailable"] and not self.unavailable:
            self.unavailable = f"an earlier part of the run had none: {state['unavailable']}"
        if self.idle_watts is None:
            self.idle_watts = state["idle_watts"]

    def _read(self) -> _Reading:
        synchronize(self._torch_device)
        self.sample()
        with self._lock:
            reading = _Reading(
                self._clock(),
                self._counter,
                self._integral,
                self._counter_problem,
                self._integral_problem,
                self._gap_seconds,
                self._gap_joules,
            )
            # A failure that lasts reaches into the next stretch and is kept.
            if self._counter is not None:
                self._counter_problem = ""
            if self._power is not None:
                self._integral_problem = ""
        self._look_around()
        return reading

    def _book(self, key: Key, start: _Reading, end: _Reading) -> None:
        account = self._accounts[key]
        account.seconds += end.seconds - start.seconds
        if start.counter is None or end.counter is None or end.counter_problem:
            account.counter_problem = end.counter_problem or start.counter_problem
        else:
            account.counter += end.counter - start.counter
        account.integrated += end.integral - start.integral
        account.integrated_problem = end.integral_problem or account.integrated_problem
        account.gap_seconds += end.gap_seconds - start.gap_seconds
        account.gap_joules += end.gap_joules - start.gap_joules

    def _begin(self, key: Key) -> None:
        self._accounts[key].stretches += 1

    def _by_window(self, phase: str | None) -> dict[str, Account]:
        out: dict[str, Account] = {}
        for (owner, name), account in self._accounts.items():
            if phase in (None, owner):
                out[name] = summed(out.get(name, Account()), account)
        return out

    def _range(self) -> tuple[float, float] | None:
        """The least and the most that the device may have drawn: its limit, where it has one."""
        if self._watts is None or self._device is None:
            return self._watts
        return self._watts[0], max(self._watts[1], self._device.state().get("power_limit_w", 0.0))

    def _seen(self, watts: float) -> None:
        """Widen the range that the device was seen to draw."""
        low, high = self._watts or (watts, watts)
        self._watts = min(low, watts), max(high, watts)

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)

    def _observe(self, moment: str) -> None:
        if self._device is not None:
            self._log[moment] = self._device.state()
            self._look_around()

    def _look_around(self) -> None:
        """Note what disturbs a measurement: company on the device, throttling."""
        if self._device is None:
            return
        try:
            if self._device.others() > 0:
                self._note("the device was shared with other processes")
        except NvmlError:
            pass
        state = self._device.state()
        hottest = max(self._log.get("temperature_c_max", 0), state.get("temperature_c", 0))
        if hottest:
            self._log["temperature_c_max"] = hottest
        seen = set(self._log.get("throttle_reasons", ())) | set(state.get("throttle_reasons", ()))
        self._log["throttle_reasons"] = sorted(seen)


def _torch_device(device: torch.device | int | str) -> torch.device:
    """The device to synchronise with; the CPU where CUDA has none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if isinstance(device, str) and device.startswith(("GPU-", "MIG-")):
        return torch.device("cuda")
    return torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
