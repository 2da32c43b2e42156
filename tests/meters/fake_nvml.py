"""Stands in for the ``pynvml`` module: devices that draw a known power on a clock of their own."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

COUNTER_STEP = 0.1
NVML_ERROR_NOT_SUPPORTED = 3
NVML_ERROR_NOT_FOUND = 6
NVML_ERROR_GPU_IS_LOST = 15
ARCH_VOLTA, ARCH_AMPERE, ARCH_HOPPER = 5, 7, 9


class VirtualClock:
    """Seconds that pass when told to; ``sleep`` lets them pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeDevice:
    """A card whose draw is ``power(seconds since it was made)`` watts.

    The counter integrates the draw exactly and shows it in whole millijoules, anew every
    ``COUNTER_STEP`` seconds, like the real one.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        power: Callable[[float], float] = lambda t: 200.0,
        energy: Callable[[float], float] | None = None,
        uuid: str = "GPU-aaaa-1111",
        name: str = "Fake H200",
    ) -> None:
        self._clock, self._power = clock, power
        self._energy = energy or (lambda t: power(0.0) * t)
        self._start = clock()
        self.uuid, self.name = uuid, name
        self.architecture = ARCH_HOPPER
        self.has_counter = self.has_instant = True
        self.lost = False
        self.offset = 5000.0
        self.counter_factor = 1.0
        self.processes: dict[int, int | None] = {}
        self.parent: FakeDevice | None = None
        self.throttle = 0

    @property
    def seconds(self) -> float:
        return self._clock() - self._start

    def watts(self) -> float:
        return self._power(self.seconds)

    def joules(self) -> float:
        shown = (self.seconds + 1e-9) // COUNTER_STEP * COUNTER_STEP
        return self.offset + self.counter_factor * self._energy(shown)


class FakeNvml:
    """The functions and constants of ``pynvml`` that the meters use."""

    NVML_FI_DEV_POWER_INSTANT = 186
    NVML_ERROR_NOT_SUPPORTED = NVML_ERROR_NOT_SUPPORTED
    NVML_ERROR_NOT_FOUND = NVML_ERROR_NOT_FOUND
    NVML_ERROR_GPU_IS_LOST = NVML_ERROR_GPU_IS_LOST
    NVML_DEVICE_ARCH_AMPERE = ARCH_AMPERE
    NVML_DEVICE_ARCH_UNKNOWN = 2**32 - 1
    nvmlClocksThrottleReasonSwPowerCap = 4

    class NVMLError(Exception):
        def __init__(self, value: int) -> None:
            super().__init__(f"error {value}")
            self.value = value

    def __init__(self, *devices: FakeDevice) -> None:
        self.devices = list(devices)

    def _alive(self, device: FakeDevice) -> FakeDevice:
        if device.lost:
            raise self.NVMLError(NVML_ERROR_GPU_IS_LOST)
        return device

    def nvmlInit(self) -> None:
        pass

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"999.01"

    def nvmlDeviceGetCount(self) -> int:
        return len([d for d in self.devices if d.parent is None])

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeDevice:
        cards = [d for d in self.devices if d.parent is None]
        if index >= len(cards):
            raise self.NVMLError(NVML_ERROR_NOT_FOUND)
        return cards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeDevice:
        for device in self.devices:
            if device.uuid == uuid:
                return device
        raise self.NVMLError(NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, device: FakeDevice) -> FakeDevice:
        assert device.parent is not None
        return device.parent

    def nvmlDeviceGetUUID(self, device: FakeDevice) -> bytes:
        return device.uuid.encode()

    def nvmlDeviceGetName(self, device: FakeDevice) -> bytes:
        return device.name.encode()

    def nvmlDeviceGetArchitecture(self, device: FakeDevice) -> int:
        return device.architecture

    def nvmlDeviceGetTotalEnergyConsumption(self, device: FakeDevice) -> int:
        if not self._alive(device).has_counter:
            raise self.NVMLError(NVML_ERROR_NOT_SUPPORTED)
        return round(device.joules() * 1e3)

    def nvmlDeviceGetPowerUsage(self, device: FakeDevice) -> int:
        return round(self._alive(device).watts() * 1e3)

    def nvmlDeviceGetFieldValues(self, device: FakeDevice, fields: list[int]) -> list:
        self._alive(device)
        code = 0 if device.has_instant else NVML_ERROR_NOT_SUPPORTED
        value = SimpleNamespace(uiVal=round(device.watts() * 1e3))
        return [SimpleNamespace(nvmlReturn=code, value=value) for _ in fields]

    def nvmlDeviceGetComputeRunningProcesses(self, device: FakeDevice) -> list:
        return [
            SimpleNamespace(pid=pid, usedGpuMemory=used)
            for pid, used in self._alive(device).processes.items()
        ]

    def nvmlDeviceGetTemperature(self, device: FakeDevice, sensor: int) -> int:
        self._alive(device)
        return 55

    def nvmlDeviceGetClockInfo(self, device: FakeDevice, kind: int) -> int:
        return 1700 if kind == 1 else 2600

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, device: FakeDevice) -> int:
        return self._alive(device).throttle
