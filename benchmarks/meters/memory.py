"""Peak memory in its separate kinds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.meters.nvml import NvmlDevice, NvmlError
from benchmarks.records import Measurement

NO_CUDA = "no CUDA device in this run"


class PeakMemory:
    """Peak allocated, reserved and process memory on CUDA, and peak resident set on the host.

    The maxima are this object's own. Whoever resets CUDA's peak statistics (mmengine's log
    processor does, at each log) loses nothing if ``observe`` is called before.

    Args:
        device: the device of the run.
        nvml: the ``pynvml`` module or a stand-in; None imports it.
        proc: the folder of this process under ``/proc``.
    """

    metrics = (
        *("mem_peak_allocated", "mem_peak_reserved", "mem_peak_process", "mem_alloc_retries"),
        "mem_peak_resident",
    )

    def __init__(
        self,
        device: torch.device | str,
        nvml: Any = None,
        proc: str | Path = "/proc/self",
    ) -> None:
        self._device = torch.device(device)
        self._proc = Path(proc)
        self._peaks: dict[str, float] = {}
        self._missing: dict[str, str] = {}
        self._notes: dict[str, str] = {}
        self._retries = 0
        self._retries_before = 0
        self._nvml: NvmlDevice | None = None
        if self._device.type == "cuda":
            try:
                self._nvml = NvmlDevice(self._device, nvml)
            except NvmlError as error:
                self._missing["mem_peak_process"] = f"no NVML device: {error}"

    def start(self) -> None:
        """Reset the system's own marks and begin."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            self._retries_before = self._cuda_retries()
        if not self._reset_resident():
            self._notes["mem_peak_resident"] = "since the process began: the mark cannot be reset"

    def observe(self) -> None:
        """Take the maxima up to now; cheap enough for every log interval."""
        if self._device.type == "cuda":
            self._raise("mem_peak_allocated", torch.cuda.max_memory_allocated(self._device))
            self._raise("mem_peak_reserved", torch.cuda.max_memory_reserved(self._device))
            self._observe_process()
            self._retries += max(0, self._cuda_retries() - self._retries_before)
            self._retries_before = self._cuda_retries()
        resident = self._resident()
        if resident is not None:
            self._raise("mem_peak_resident", resident)

    def stop(self) -> None:
        """Take the maxima at the end."""
        self.observe()

    def measurements(self) -> list[Measurement]:
        """Bytes of every kind of peak, and the allocator's retries."""
        self.observe()
        cuda = self._device.type == "cuda"
        rows = []
        for metric in ("mem_peak_allocated", "mem_peak_reserved", "mem_peak_process"):
            reason = self._missing.get(metric, "never observed") if cuda else NO_CUDA
            rows.append(self._row(metric, reason))
        rows.append(
            Measurement("mem_alloc_retries", float(self._retries))
            if cuda
            else Measurement("mem_alloc_retries", None, NO_CUDA)
        )
        rows.append(self._row("mem_peak_resident", "this system tells no peak resident set"))
        return rows

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to keep its maxima."""
        self.observe()
        return {"peaks": dict(self._peaks), "retries": self._retries, "notes": dict(self._notes)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the maxima of the run's earlier segments."""
        for metric, value in state["peaks"].items():
            self._raise(metric, value)
        self._retries += state["retries"]
        self._notes = {**state["notes"], **self._notes}

    def _row(self, metric: str, reason: str) -> Measurement:
        if metric in self._peaks:
            return Measurement(metric, self._peaks[metric], self._notes.get(metric, ""))
        return Measurement(metric, None, reason)

    def _raise(self, metric: str, value: float) -> None:
        self._peaks[metric] = max(float(value), self._peaks.get(metric, 0.0))

    def _observe_process(self) -> None:
        if self._nvml is None:
            return
        try:
            self._raise("mem_peak_process", self._nvml.process_memory())
        except NvmlError as error:
            self._missing["mem_peak_process"] = str(error)

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
