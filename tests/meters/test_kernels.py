"""What a run is computed with, as the libraries themselves say."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.meters.device import describe_device
from benchmarks.records.manifest import PRECISION, kernels_of

ROOT = Path(__file__).parents[2]
ON_X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="instruction sets of x86")


def facts_under(**variables: str) -> dict[str, str]:
    """The kernels of a process with other environment variables."""
    code = (
        "import json; from benchmarks.meters.device import describe_device\n"
        "print('printed'); print(json.dumps(describe_device('cpu')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, **variables},
    )  # fmt: skip
    first, last = done.stdout.splitlines()
    assert first == "printed", "nothing of the libraries' own talk is left on stdout"
    return kernels_of(json.loads(last))


@ON_X86
def test_the_instruction_sets_are_those_really_used() -> None:
    plain = facts_under()
    assert plain["torch"] == torch.backends.cpu.get_cpu_capability()
    limited = facts_under(
        ATEN_CPU_CAPABILITY="default", ONEDNN_MAX_CPU_ISA="SSE41", MKL_CBWR="COMPATIBLE"
    )
    assert limited["torch"] == "DEFAULT"
    if torch.backends.mkldnn.is_available():
        assert "SSE4.1" in limited["oneDNN"]
        assert plain["oneDNN"] != limited["oneDNN"]
    if torch.backends.mkl.is_available():
        assert limited["MKL"] == "compatible"
        assert plain["MKL"] != "compatible"
    assert plain["BLAS"] == limited["BLAS"]


def test_kernels_of_a_processor_and_of_a_gpu_are_told_by_name() -> None:
    facts = describe_device("cpu")
    assert kernels_of(facts)["torch"] == torch.backends.cpu.get_cpu_capability()
    assert kernels_of(facts)[PRECISION[2]] == "highest"
    gpu = {
        "type": "cuda", "cuda": "13.0", "cudnn": 92400, "cudnn_benchmark": True,
        "tf32": {"matmul": False, "convolutions": True}, "instruction_set": {"torch": "AVX2"},
    }  # fmt: skip
    told = kernels_of(gpu)
    assert (told["cuDNN"], told["cuDNN benchmark"], told[PRECISION[1]]) == ("92400", "True", "True")
    assert "torch" not in told, "the host's instruction set computes nothing there"
    # Manifests of earlier versions: TF32 of products alone, or nothing at all.
    assert kernels_of({"type": "cuda", "tf32": False}) == {PRECISION[0]: "False"}
    assert kernels_of({}) == {}


@pytest.mark.gpu
def test_a_gpu_tells_tf32_and_the_flags_of_cudnn() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    told = kernels_of(describe_device("cuda"))
    assert set(PRECISION) <= set(told)
    assert {"CUDA", "cuDNN", "cuDNN benchmark", "cuDNN deterministic"} <= set(told)
