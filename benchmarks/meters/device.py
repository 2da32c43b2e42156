"""What ran the run: facts about the machine for the manifest."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from benchmarks.meters.kernels import kernel_facts
from benchmarks.meters.nvml import NvmlDevice, NvmlError


def describe_device(device: torch.device | str, nvml: Any = None) -> dict[str, Any]:
    """Names, cores, memory (bytes), threads, kernels; for CUDA the driver, clocks and limits too.

    What the system does not tell is absent. :func:`benchmarks.meters.kernels.kernel_facts` says
    what is known of kernels.

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
        **kernel_facts(device),
    }
    if hasattr(os, "sched_getaffinity"):
        facts["cpu_cores_usable"] = len(os.sched_getaffinity(0))
    memory = _host_memory()
    if memory is not None:
        facts["host_memory"] = memory
    facts["name"] = device_name(device)
    if device.type != "cuda":
        return facts
    properties = torch.cuda.get_device_properties(device)
    facts |= {
        "memory": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }
    try:
        facts["nvml"] = NvmlDevice(device, nvml).state()
    except NvmlError as error:
        facts["nvml_unavailable"] = str(error)
    return facts


def device_name(device: torch.device | str) -> str:
    """What the device of a run is called: the model of the GPU, or of the processor."""
    device = torch.device(device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_model()


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
