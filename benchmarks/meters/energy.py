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

from benchmarks.meters.modes import synchronize
from benchmarks.meters.nvml import NvmlDevice, NvmlError
from benchmarks.meters.sampler import Sampler
from benchmarks.meters.windows import Key, Windows, flat, nested
from benchmarks.records import Measurement

COUNTER_STEP = 0.1
"""Seconds between two updates of the energy counter (20 to 100 ms, by device)."""
SHORTEST_WINDOW = 1.0
"""Seconds; shorter windows have no energy row."""
LONG_WINDOW = 10.0
"""Seconds; shorter windows carry their quantisation error in the row."""
DIVERGENCE = 0.05
"""Relative difference of counter and integral that is flagged."""

_METRICS = ("energy_gpu_counter", "energy_gpu_integrated", "energy_gpu_error", "energy_idle")


@dataclass
class Account:
    """Energy of one window in one phase.

    ``counter`` and ``integrated`` are joules and hold only what could be measured: where the
    problem beside one is not empty, part of it is missing and the value must not be shown.
    """

    seconds: float = 0.0
    stretches: int = 0
    counter: float = 0.0
    integrated: float = 0.0
    counter_problem: str = ""
    integrated_problem: str = ""


@dataclass(frozen=True)
class _Reading:
    """Totals at a boundary, and what went wrong since the boundary before."""

    seconds: float
    counter: float | None
    integral: float
    counter_problem: str
    integral_problem: str


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
        self._power: tuple[float, float] | None = None
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
        self.idle_watts = sum(watts) / len(watts) if watts else None
        return self.idle_watts

    def sample(self) -> None:
        """Read power and counter once, and carry the integral on (trapezoid rule)."""
        if self._device is None:
            return
        with self._lock:
            now = self._clock()
            try:
                watts = self._device.power()
                if self._power is not None:
                    then, before = self._power
                    self._integral += (now - then) * (watts + before) / 2
                self._power = (now, watts)
            except NvmlError as error:
                self._power = None
                self._integral_problem = f"power cannot be read: {error}"
            try:
                joules = self._device.energy()
                if self._counter is not None and joules < self._counter:
                    self._counter_problem = "the energy counter went backwards (driver reloaded?)"
                self._counter = joules
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

    def measurements(self, phase: str | None = None) -> list[Measurement]:
        """Rows of a phase: training without a condition, other windows as ``...@window``."""
        self.flush()
        if self.unavailable:
            return [Measurement(metric, None, self.unavailable) for metric in _METRICS]
        windows = self._by_window(phase)
        rows: list[Measurement] = []
        if "train" not in windows:
            reason = "nothing was trained in this phase"
            rows += [Measurement(metric, None, reason) for metric in _METRICS]
        for name, account in windows.items():
            rows += self._rows("" if name == "train" else f"@{name}", account)
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
            "notes": list(self._notes),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Add the energy of the run's earlier segments."""
        for key, values in flat(state["accounts"]).items():
            self._accounts[key] = _sum(self._accounts[key], Account(**values))
        for note in state["notes"]:
            self._note(note)
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

    def _begin(self, key: Key) -> None:
        self._accounts[key].stretches += 1

    def _by_window(self, phase: str | None) -> dict[str, Account]:
        out: dict[str, Account] = {}
        for (owner, name), account in self._accounts.items():
            if phase in (None, owner):
                out[name] = _sum(out.get(name, Account()), account)
        return out

    def _rows(self, condition: str, account: Account) -> list[Measurement]:
        length = account.seconds / max(1, account.stretches)
        if length < SHORTEST_WINDOW:
            reason = f"windows of {length:.2g} s are too short for the counter: 1 s at least"
            return [Measurement(metric + condition, None, reason) for metric in _METRICS]
        counter = None if account.counter_problem else account.counter
        integrated = None if account.integrated_problem else account.integrated
        notes = ["device energy, not wall power", *self._notes]
        if counter and integrated and abs(counter - integrated) > DIVERGENCE * counter:
            share = abs(counter - integrated) / counter
            notes.append(f"counter and integrated power differ by {share:.1%}")
        best = counter if counter is not None else integrated
        error = None
        counter_notes = list(notes)
        if best is not None:
            error = account.stretches * COUNTER_STEP * best / account.seconds
            if length < LONG_WINDOW:
                counter_notes.append(f"quantisation error up to {error:.3g} J")
        power_note = self._device.power_note if self._device else ""
        return [
            Measurement(
                f"energy_gpu_counter{condition}",
                counter,
                account.counter_problem if counter is None else "; ".join(counter_notes),
            ),
            Measurement(
                f"energy_gpu_integrated{condition}",
                integrated,
                account.integrated_problem
                if integrated is None
                else "; ".join([*notes, power_note]),
            ),
            Measurement(
                f"energy_gpu_error{condition}",
                error,
                f"{account.stretches} windows, counter steps of {COUNTER_STEP} s"
                if error is not None
                else "neither counter nor power could be read",
            ),
            Measurement(
                f"energy_idle{condition}",
                None if self.idle_watts is None else self.idle_watts * account.seconds,
                "idle draw was not sampled before the run"
                if self.idle_watts is None
                else f"{self.idle_watts:.3g} W before the run",
            ),
        ]

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)

    def _observe(self, moment: str) -> None:
        if self._device is not None:
            self._log[moment] = self._device.state()
            self._look_around()

    def _look_around(self) -> None:
        """Note what spoils a measurement: company on the device, throttling."""
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


def _sum(first: Account, second: Account) -> Account:
    return Account(
        seconds=first.seconds + second.seconds,
        stretches=first.stretches + second.stretches,
        counter=first.counter + second.counter,
        integrated=first.integrated + second.integrated,
        counter_problem=first.counter_problem or second.counter_problem,
        integrated_problem=first.integrated_problem or second.integrated_problem,
    )


def _torch_device(device: torch.device | int | str) -> torch.device:
    """The device to synchronise with; the CPU where CUDA has none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if isinstance(device, str) and device.startswith(("GPU-", "MIG-")):
        return torch.device("cuda")
    return torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
