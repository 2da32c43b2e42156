"""One NVIDIA device through NVML: which one CUDA means, what it reports, and why it does not.

Every question that NVML cannot answer raises ``NvmlError`` with a reason for the user, so that no
answer is ever 0 by mistake.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Mapping
from typing import Any

import torch

_REASONS = {
    "NVML_ERROR_NOT_SUPPORTED": "not supported by this device",
    "NVML_ERROR_NO_PERMISSION": "the driver does not permit it",
    "NVML_ERROR_GPU_IS_LOST": "the device was lost",
    "NVML_ERROR_NOT_FOUND": "NVML knows no such device",
    "NVML_ERROR_DRIVER_NOT_LOADED": "no NVIDIA driver is loaded",
    "NVML_ERROR_LIBRARY_NOT_FOUND": "the NVML library is not installed",
    "NVML_ERROR_FUNCTION_NOT_FOUND": "the driver is too old for it",
    "NVML_ERROR_RESET_REQUIRED": "the device needs a reset",
}

_THROTTLE_REASONS = {
    "nvmlClocksThrottleReasonSwPowerCap": "power cap",
    "nvmlClocksThrottleReasonHwSlowdown": "hardware slowdown",
    "nvmlClocksThrottleReasonHwThermalSlowdown": "hardware thermal slowdown",
    "nvmlClocksThrottleReasonHwPowerBrakeSlowdown": "power brake",
    "nvmlClocksThrottleReasonSwThermalSlowdown": "thermal slowdown",
    "nvmlClocksThrottleReasonSyncBoost": "sync boost",
}


class NvmlError(Exception):
    """NVML has no answer; the message says why. ``lost`` is True once the device is gone."""

    def __init__(self, reason: str, lost: bool = False) -> None:
        super().__init__(reason)
        self.lost = lost


class NvmlDevice:
    """The NVML side of a CUDA device.

    Args:
        device: a CUDA device, its ordinal among the visible ones, or an NVML UUID.
        nvml: the ``pynvml`` module, or one that answers like it; None imports it.
        environ: where ``CUDA_VISIBLE_DEVICES`` is read.

    Raises:
        NvmlError: no such device, or no NVML.
    """

    def __init__(
        self,
        device: torch.device | int | str,
        nvml: Any = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._nvml = nvml if nvml is not None else _import_nvml()
        self._call("nvmlInit")
        self._handle, self.uuid = self._find(device, os.environ if environ is None else environ)
        self.slice_of: str | None = None
        if self.uuid.startswith("MIG-"):
            # Energy and power exist for whole devices only.
            self.slice_of = self.uuid
            self._handle = self._call("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", self._handle)
            self.uuid = _text(self._call("nvmlDeviceGetUUID", self._handle))
        self.name = _text(self._call("nvmlDeviceGetName", self._handle))
        self._instant = self._supports_instant_power()

    def energy(self) -> float:
        """Joules since the driver was loaded (Volta and later; the counter is in millijoules)."""
        return self._call("nvmlDeviceGetTotalEnergyConsumption", self._handle) / 1e3

    def power(self) -> float:
        """Watts: the instant draw where the driver has it, else the averaged one."""
        if self._instant:
            return self._instant_power()
        return self._call("nvmlDeviceGetPowerUsage", self._handle) / 1e3

    @property
    def power_note(self) -> str:
        """What ``power`` means on this device."""
        if self._instant:
            return "instant power"
        with contextlib.suppress(NvmlError):
            architecture = self._call("nvmlDeviceGetArchitecture", self._handle)
            # GA100 (A100, A30, A800) is the exception among Ampere and later.
            exempt = any(card in self.name for card in ("A100", "A30 ", "A800"))
            ampere = getattr(self._nvml, "NVML_DEVICE_ARCH_AMPERE", 7)
            unknown = getattr(self._nvml, "NVML_DEVICE_ARCH_UNKNOWN", 2**32 - 1)
            if ampere <= architecture < unknown and not exempt:
                return "power averaged over 1 s by the driver"
        return "power as the driver reports it"

    def processes(self) -> dict[int, int | None]:
        """Process id to bytes of device memory (None: unknown) of all compute processes."""
        found = self._call("nvmlDeviceGetComputeRunningProcesses", self._handle)
        return {p.pid: p.usedGpuMemory for p in found}

    def process_memory(self, pid: int | None = None) -> int:
        """Bytes of device memory of a process (default: this one), CUDA context included."""
        pid = os.getpid() if pid is None else pid
        processes = self.processes()
        if pid not in processes:
            raise NvmlError(
                "NVML does not list this process: in a container its process numbers are not "
                "the host's, and without a CUDA context there is nothing to list"
            )
        used = processes[pid]
        if used is None:
            raise NvmlError("the driver does not tell the memory of single processes")
        return used

    def others(self) -> int:
        """How many other compute processes use the device.

        In a container this process is in the list under the host's number.
        """
        found = self.processes()
        listed = os.getpid() in found or (torch.cuda.is_initialized() and bool(found))
        return len(found) - listed

    def state(self) -> dict[str, Any]:
        """Temperature (C), clocks (MHz), power limit (W), throttle reasons; absent where untold."""
        queries = {
            "temperature_c": lambda: self._call("nvmlDeviceGetTemperature", self._handle, 0),
            "sm_clock_mhz": lambda: self._call("nvmlDeviceGetClockInfo", self._handle, 1),
            "memory_clock_mhz": lambda: self._call("nvmlDeviceGetClockInfo", self._handle, 2),
            "max_sm_clock_mhz": lambda: self._call("nvmlDeviceGetMaxClockInfo", self._handle, 1),
            "power_limit_w": lambda: (
                self._call("nvmlDeviceGetEnforcedPowerLimit", self._handle) / 1e3
            ),
            "throttle_reasons": self._throttle_reasons,
            "driver": lambda: _text(self._call("nvmlSystemGetDriverVersion")),
        }
        out: dict[str, Any] = {"name": self.name, "uuid": self.uuid}
        if self.slice_of:
            out["mig_slice"] = self.slice_of
        for key, query in queries.items():
            with contextlib.suppress(NvmlError):
                out[key] = query()
        return out

    def _throttle_reasons(self) -> list[str]:
        mask = self._call("nvmlDeviceGetCurrentClocksThrottleReasons", self._handle)
        return [
            words
            for name, words in _THROTTLE_REASONS.items()
            if mask & getattr(self._nvml, name, 0)
        ]

    def _find(
        self, device: torch.device | int | str, environ: Mapping[str, str]
    ) -> tuple[Any, str]:
        if isinstance(device, str) and device.startswith(("GPU-", "MIG-")):
            return self._by_uuid(device)
        device = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
        ordinal = device.index
        if ordinal is None:
            ordinal = torch.cuda.current_device() if torch.cuda.is_available() else 0
        visible = environ.get("CUDA_VISIBLE_DEVICES")
        entries = [e.strip() for e in visible.split(",")] if visible is not None else None
        if entries is not None:
            if ordinal >= len(entries) or entries[ordinal] in ("", "-1"):
                raise NvmlError(f"CUDA_VISIBLE_DEVICES={visible} shows no device {ordinal}")
            if entries[ordinal].startswith(("GPU-", "MIG-")):
                return self._by_uuid(entries[ordinal])
        uuid = _cuda_uuid(ordinal)
        if uuid is not None:
            return self._by_uuid(uuid)
        if entries is not None and not entries[ordinal].isdecimal():
            raise NvmlError(f"CUDA_VISIBLE_DEVICES={visible} is not a list of numbers or UUIDs")
        index = int(entries[ordinal]) if entries is not None else ordinal
        handle = self._call("nvmlDeviceGetHandleByIndex", index)
        return handle, _text(self._call("nvmlDeviceGetUUID", handle))

    def _by_uuid(self, uuid: str) -> tuple[Any, str]:
        """The handle of a UUID or, as CUDA allows, of a unique beginning of one."""
        try:
            return self._call("nvmlDeviceGetHandleByUUID", uuid), uuid
        except NvmlError:
            for index in range(self._call("nvmlDeviceGetCount")):
                handle = self._call("nvmlDeviceGetHandleByIndex", index)
                full = _text(self._call("nvmlDeviceGetUUID", handle))
                if full.startswith(uuid):
                    return handle, full
            raise

    def _supports_instant_power(self) -> bool:
        try:
            self._instant_power()
        except NvmlError:
            return False
        return True

    def _instant_power(self) -> float:
        field = getattr(self._nvml, "NVML_FI_DEV_POWER_INSTANT", None)
        if field is None:
            raise NvmlError("this pynvml knows no instant power")
        (value,) = self._call("nvmlDeviceGetFieldValues", self._handle, [field])
        if value.nvmlReturn != 0:
            lost = value.nvmlReturn == getattr(self._nvml, "NVML_ERROR_GPU_IS_LOST", 15)
            raise NvmlError("the device was lost" if lost else "no instant power", lost=lost)
        return value.value.uiVal / 1e3

    def _call(self, function: str, *args: Any) -> Any:
        query = getattr(self._nvml, function, None)
        if query is None:
            raise NvmlError(f"this pynvml has no {function}")
        try:
            return query(*args)
        except self._nvml.NVMLError as error:
            code = getattr(error, "value", None)
            names = [n for n in _REASONS if getattr(self._nvml, n, object()) == code]
            reason = _REASONS[names[0]] if names else str(error)
            raise NvmlError(reason, lost="NVML_ERROR_GPU_IS_LOST" in names) from error


def _import_nvml() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        raise NvmlError("pynvml is not installed: pip install nvidia-ml-py") from None


def _cuda_uuid(ordinal: int) -> str | None:
    """The UUID that CUDA itself gives to an ordinal; its order need not be NVML's."""
    if not torch.cuda.is_available() or ordinal >= torch.cuda.device_count():
        return None
    uuid = getattr(torch.cuda.get_device_properties(ordinal), "uuid", None)
    return f"GPU-{uuid}" if uuid is not None else None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
