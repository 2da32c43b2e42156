"""What ran the run: facts about the machine for the manifest."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from benchmarks.meters.nvml import NvmlDevice, NvmlError


def describe_device(device: torch.device | str, nvml: Any = None) -> dict[str, Any]:
    """Names, cores, memory (bytes), threads; for CUDA the driver, clocks and limits too.

    What the system does not tell is absent.

    Args:
        device: the device of the run.
        nvml: the ``pynvml`` module or a stand-in; None imports it.
    """
    device = torch.device(device)
    facts: dict[str, Any] = {
        "type": device.type,
        "host_system": platform.platform(),
        "cpu": _cpu_model(),
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    if hasattr(os, "sched_getaffinity"):
        facts["cpu_cores_usable"] = len(os.sched_getaffinity(0))
    memory = _host_memory()
    if memory is not None:
        facts["host_memory"] = memory
    if device.type != "cuda":
        facts["name"] = facts["cpu"]
        return facts
    properties = torch.cuda.get_device_properties(device)
    facts |= {
        "name": properties.name,
        "memory": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }
    try:
        facts["nvml"] = NvmlDevice(device, nvml).state()
    except NvmlError as error:
        facts["nvml_unavailable"] = str(error)
    return facts


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _host_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
