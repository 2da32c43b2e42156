"""Peak memory in its separate kinds."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.meters.nvml import NvmlDevice, NvmlError
from benchmarks.meters.windows import Key, Windows, flat, nested
from benchmarks.records.row import Measurement

NO_CUDA = "no CUDA device in this run"


Peaks = dict[str, float]
"""Bytes by metric; ``mem_alloc_retries`` is a running total."""

RETRIES = "mem_alloc_retries"
TRAINED = ("train", "counted")
"""Windows in which steps of training are made, the first one of a phase left out."""
WARM_UP = "first_step"


class PeakMemory(Windows[Peaks]):
    """Peak allocated, reserved and process memory on CUDA, and peak resident set on the host.

    Every window has peaks of its own, for which the marks are reset at its boundaries. The rows of
    a phase are those of its training alone: neither the first step, whose workspaces are for
    search and compilation, nor evaluation, checkpoints and what comes after training are among
    them. What the allocator and the process keep of those from then on is.

    Whoever else resets CUDA's peak statistics loses nothing if :meth:`flush` is called before.

    Args:
        device: the device of the run.
        nvml: the ``pynvml`` module or a stand-in; None imports it.
        proc: the folder of this process under ``/proc``.
    """

    metrics = (
        *("mem_peak_allocated", "mem_peak_reserved", "mem_peak_process", RETRIES),
        "mem_peak_resident",
    )

    def __init__(
        self,
        device: torch.device | str,
        nvml: Any = None,
        proc: str | Path = "/proc/self",
    ) -> None:
        super().__init__()
        self._device = torch.device(device)
        self._proc = Path(proc)
        self._peaks: dict[Key, Peaks] = defaultdict(dict)
        self._missing: dict[str, str] = {}
        self._notes: dict[str, str] = {}
        self._nvml: NvmlDevice | None = None
        if self._device.type == "cuda":
            try:
                self._nvml = NvmlDevice(self._device, nvml)
            except NvmlError as error:
                self._missing["mem_peak_process"] = f"no NVML device: {error}"

    def start(self) -> None:
        """Reset the system's own marks."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._last = self._read()

    def stop(self) -> None:
        """Take the maxima of the open window."""
        self.flush()

    def measurements(self, phase: str = "train") -> list[Measurement]:
        """Bytes of every kind of peak while a phase trained, and the allocator's retries."""
        self.flush()
        cuda = self._device.type == "cuda"
        rows = []
        for metric in self.metrics[:-1]:
            reason = self._missing.get(metric, "no step was trained in this phase")
            rows.append(self._row(phase, metric, reason if cuda else NO_CUDA))
        rows.append(self._row(phase, "mem_peak_resident", "no peak resident set is known here"))
        return rows

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to keep its maxima."""
        self.flush()
        return {"peaks": nested(self._peaks), "notes": dict(self._notes)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the maxima of the run's earlier segments."""
        for key, peaks in flat(state["peaks"]).items():
            self._add(key, peaks)
        self._notes = {**state["notes"], **self._notes}

    def _row(self, phase: str, metric: str, reason: str) -> Measurement:
        note = self._notes.get(metric, "")
        for windows, which in ((TRAINED, ""), ((WARM_UP,), "of the first step, with its warm-up")):
            accounts = [self._peaks.get((phase, window), {}) for window in windows]
            found = [peaks[metric] for peaks in accounts if metric in peaks]
            if found:
                value = sum(found) if metric == RETRIES else max(found)
                return Measurement(metric, value, "; ".join(filter(None, (note, which))))
        return Measurement(metric, None, reason)

    def _add(self, key: Key, peaks: Peaks) -> None:
        account = self._peaks[key]
        for metric, value in peaks.items():
            before = account.get(metric, 0.0)
            account[metric] = before + value if metric == RETRIES else max(before, value)

    def _read(self) -> Peaks:
        """The maxima since the last reading; new ones begin."""
        found: Peaks = {}
        if self._device.type == "cuda":
            found["mem_peak_allocated"] = torch.cuda.max_memory_allocated(self._device)
            found["mem_peak_reserved"] = torch.cuda.max_memory_reserved(self._device)
            found[RETRIES] = self._cuda_retries()
            torch.cuda.reset_peak_memory_stats(self._device)
            if self._nvml is not None:
                try:
                    found["mem_peak_process"] = self._nvml.process_memory()
                except NvmlError as error:
                    self._missing["mem_peak_process"] = str(error)
        resident = self._resident()
        if resident is not None:
            found["mem_peak_resident"] = resident
        if not self._reset_resident():
            self._notes["mem_peak_resident"] = "since the process began: the mark cannot be reset"
        return {metric: float(value) for metric, value in found.items()}

    def _book(self, key: Key, start: Peaks, end: Peaks) -> None:
        retries = end.get(RETRIES, 0.0) - start.get(RETRIES, 0.0)
        self._add(key, {**end, RETRIES: retries} if RETRIES in end else end)

    def _cuda_retries(self) -> int:
        return torch.cuda.memory_stats(self._device).get("num_alloc_retries", 0)

    def _reset_resident(self) -> bool:
        try:
            # 5 resets the high-water mark of the resident set (proc(5)).
            (self._proc / "clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def _resident(self) -> int | None:
        """Bytes of the resident set's high-water mark."""
        try:
            for line in (self._proc / "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        except OSError:
            pass
        try:
            import resource
        except ImportError:
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
