"""Run folders written by hand: of a GPU, with sums that hold until a test spoils them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.records.identity.run_id import run_id
from benchmarks.records.row import Measurement, Row
from benchmarks.records.store import write_finished_run
from benchmarks.spec import RunSpec

SPEC: dict[str, Any] = {
    "suite": "made",
    "profile": "smoke",
    "task": "classification",
    "task_options": {"dataset": "digits", "arch": "cifar_resnet26"},
    "method": "end_to_end",
    "method_options": {},
    "seed": 0,
    "budget": {"epochs": 2.0},
    "device": "cuda",
    "threads": 1,
}
SPEC = RunSpec.from_dict(SPEC).to_dict()
FINGERPRINT: dict[str, Any] = {
    "code": {"method": "a", "tasks": "b", "harness": "c"},
    "data": {"dataset": "digits", "sha256": {"train": "d"}},
    "versions": {"python": "3.11.7", "torch": "2.14.1"},
    "device": "NVIDIA H200",
    "threads": 1,
}
CURVE = """phase,epoch,step,seconds,joules,lr,train_loss,top1,nll
train,1,50,50.0,10000.0,0.05,1.5,80.0,0.9
train,2,100,99.5,19900.0,0.0,0.02,90.0,0.4
"""
MIB = 2.0**20


def of_training() -> dict[str, float | None]:
    """Values of the phase ``train`` whose sums hold."""
    return {
        "train_time": 100.0,
        "warmup_time": 3.0,
        "eval_time": 12.0,
        "checkpoint_time": 5.0,
        "data_time": 4.0,
        "total_time": 120.0,
        "energy_gpu_counter": 20000.0,
        "energy_gpu_integrated": 19900.0,
        "energy_gpu_error": 40.0,
        "energy_idle": 8000.0,
        "energy_gpu_counter@first_step": 500.0,
        "energy_gpu_integrated@first_step": 505.0,
        "energy_gpu_error@first_step": 17.0,
        "energy_idle@first_step": 240.0,
        "energy_gpu_counter@evaluate": 1500.0,
        "energy_gpu_integrated@evaluate": 1490.0,
        "energy_gpu_error@evaluate": 25.0,
        "energy_idle@evaluate": 960.0,
        "mem_peak_allocated": 1000 * MIB,
        "mem_peak_reserved": 1200 * MIB,
        "mem_peak_process": 1700 * MIB,
        "mem_alloc_retries": 0.0,
        "mem_peak_resident": 3000 * MIB,
        "batches": 100.0,
    }


def of_one_step() -> dict[str, float | None]:
    """Memory of one training step, in the phase ``setup``."""
    return {
        "mem_parameters": 100 * MIB,
        "mem_gradients": 100 * MIB,
        "mem_optimizer": 100 * MIB,
        "mem_activations": 500 * MIB,
        "mem_rest": 180 * MIB,
    }


@dataclass
class Made:
    """What a run folder shall hold."""

    training: dict[str, float | None] = field(default_factory=of_training)
    step: dict[str, float | None] = field(default_factory=of_one_step)
    curve: str | None = CURVE
    manifest: dict[str, Any] = field(default_factory=dict)

    def write(self, results: Path) -> Path:
        """Write the folder under ``results/runs`` and return it."""
        name = run_id(SPEC, FINGERPRINT, "digits")
        folder = results / "runs" / name
        base = Row(
            *("made", name, "classification", "digits", "cifar_resnet26", "end_to_end", "", 0),
            *("train", "top1", 0.0, "%", "ok", ""),
        )
        rows = [
            *(replace(base, variant="full", phase=p, value=90.0) for p in ("val", "test")),
            *(row_of(base, "train", metric, value) for metric, value in self.training.items()),
            *(row_of(base, "setup", metric, value) for metric, value in self.step.items()),
        ]
        manifest = {
            "run_id": name,
            "label": "end_to_end",
            "spec": SPEC,
            "fingerprint": FINGERPRINT,
            "environment": {"git": {"commit": "0123456789abcdef", "dirty": False}},
            "device": {"type": "cuda", "name": "NVIDIA H200"},
            "segments": [{"started": "2026-01-01T00:00:00+00:00", "ended": "x", "seconds": 150.0}],
            "phases": [{"name": "train", "batches": 100}],
            "best_epoch": 2,
            "meters": {"gpu": {"notes": [], "throttle_reasons": []}},
            **self.manifest,
        }
        folder.mkdir(parents=True)
        if self.curve is not None:
            (folder / "curve.csv").write_text(self.curve)
        write_finished_run(folder, rows, manifest)
        return folder


def row_of(base: Row, phase: str, metric: str, value: float | None) -> Row:
    reason = "" if value is not None else "told by the test"
    made = Row.of(
        Measurement(metric, value, reason),
        **{
            name: getattr(base, name)
            for name in ("suite", "run_id", "task", "dataset", "arch", "method", "variant", "seed")
        },
        phase=phase,
    )
    return made
