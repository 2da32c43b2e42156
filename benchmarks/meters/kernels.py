"""What torch and its libraries compute with here: instruction sets, BLAS, TF32, cuDNN's flags.

Two processors that run the same code with different kernels give different last bits, and after
some epochs different accuracies. None of it is part of a run's id.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

_MKL_BRANCHES = {0: "compatible", 2: "SSE4.2", 4: "AVX", 5: "AVX2", 7: "AVX512"}
"""What MKL's processor detection returns; others are recorded as numbers."""

_CNR_BRANCH, _CNR_COMPATIBLE = 1, 3
"""``MKL_CBWR_BRANCH`` and ``MKL_CBWR_COMPATIBLE`` of ``mkl_types.h``."""


def kernel_facts(device: torch.device) -> dict[str, Any]:
    """Conditions of a run that decide its last bits; what is not known is absent.

    Returns:
        ``instruction_set`` (of ``torch``, ``onednn`` and ``mkl``, as really used, limits by
        environment variables included), ``blas``, ``float32_matmul_precision``; for CUDA also
        ``tf32`` (of ``matmul`` and ``convolutions``), ``cudnn_benchmark``,
        ``cudnn_deterministic`` and ``deterministic_algorithms``.
    """
    facts: dict[str, Any] = {
        "instruction_set": _known(
            torch=torch.backends.cpu.get_cpu_capability(), onednn=_onednn(), mkl=_mkl()
        ),
        "blas": _blas(),
        "float32_matmul_precision": _asked(torch.get_float32_matmul_precision),
    }
    if device.type == "cuda":
        facts |= {
            "tf32": _known(
                matmul=_asked(lambda: torch.backends.cuda.matmul.allow_tf32),
                convolutions=_asked(lambda: torch.backends.cudnn.allow_tf32),
            ),
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        }
    return _known(**facts)


def _known(**facts: Any) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


def _asked(getter: Callable[[], Any]) -> Any:
    """A setting of torch; None where it was set in two ways, which torch refuses to read."""
    try:
        return getter()
    except RuntimeError:
        return None


@lru_cache(maxsize=1)
def _blas() -> str | None:
    """``mkl 2024.2, oneDNN 3.12.0``, from how torch was built."""
    text = torch.__config__.show()
    kind = re.search(r"BLAS_INFO=(\w+)", text)
    mkl = re.search(r"Math Kernel Library Version (\S+?)-", text)
    onednn = re.search(r"MKL-DNN v(\S+)", text)
    parts = [
        kind and (f"mkl {mkl[1]}" if mkl and kind[1] == "mkl" else kind[1]),
        onednn and f"oneDNN {onednn[1]}",
    ]
    return ", ".join(filter(None, parts)) or None


@lru_cache(maxsize=1)
def _mkl() -> str | None:
    """The branch that MKL takes on this processor; None without MKL or where it does not say.

    MKL detects only Intel's processors. On others it returns 0 and still uses kernels of AVX2
    where it can (on one AMD EPYC three times as fast as ``MKL_CBWR=COMPATIBLE``), which it does
    not name.
    """
    if not torch.backends.mkl.is_available():
        return None
    library = Path(str(torch.__file__)).parent / "lib" / "libtorch_cpu.so"
    try:
        mkl = ctypes.CDLL(str(library))
        if mkl.mkl_serv_cbwr_get(_CNR_BRANCH) == _CNR_COMPATIBLE:
            return _MKL_BRANCHES[0]
        branch = mkl.mkl_serv_cpu_detect()
        if branch == 0 and not mkl.mkl_serv_intel_cpu_true():
            return "default for processors that are not Intel's"
    except (OSError, AttributeError):
        return None
    return _MKL_BRANCHES.get(branch, f"branch {branch}")


@lru_cache(maxsize=1)
def _onednn() -> str | None:
    """The instruction set that oneDNN names when it is asked to be verbose, at its first work."""
    if not torch.backends.mkldnn.is_available():
        return None
    with contextlib.suppress(OSError, ValueError), tempfile.TemporaryFile() as file:
        verbose = torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON)
        with _stdout_to(file.fileno()), torch.no_grad(), verbose:
            image = torch.zeros(8, 16, 16, 16)  # smaller ones are done without oneDNN
            torch.nn.functional.conv2d(image, torch.zeros(16, 16, 3, 3))
        file.seek(0)
        found = re.search(rb"info,cpu,isa:(.+)", file.read())
        return found[1].decode("ascii", "replace").strip() if found else None
    return None


@contextlib.contextmanager
def _stdout_to(descriptor: int) -> Any:
    """Send what C libraries print to another file for a while."""
    if sys.stdout is not None:
        sys.stdout.flush()
    c_library = ctypes.CDLL(None)
    c_library.fflush(None)
    own = os.dup(1)
    os.dup2(descriptor, 1)
    try:
        yield
    finally:
        c_library.fflush(None)
        os.dup2(own, 1)
        os.close(own)
