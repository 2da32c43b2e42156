"""Results folders made without training, as ``depthbench run`` leaves them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.records.row import FAILED, Measurement, Row
from benchmarks.records.store import (
    Plan,
    PlannedRun,
    Store,
    write_failed_run,
    write_finished_run,
)

NO_GPU = "no CUDA device in this run"


@dataclass
class Made:
    """What a folder is to hold; a method maps its variants to their width, 1 for the full one."""

    methods: Mapping[str, Mapping[str, float]] = field(
        default_factory=lambda: {"plain": {"full": 1.0}, "ours": {"super": 1.0, "base": 0.5}}
    )
    seeds: Sequence[int] = (0, 1, 2)
    datasets: Sequence[str] = ("digits",)
    archs: Sequence[str] = ("resnet20",)
    suite: str = "mine"
    epochs: int = 4
    profile: str = "smoke"
    device: str = "Some CPU"
    gpu: bool = False
    why: str = NO_GPU
    """The reason for what takes a GPU and there is none."""
    fail: frozenset[tuple[str, int]] = frozenset()
    outside: Mapping[str, float] = field(default_factory=dict)
    """Seconds outside the budget by method; other methods have no such row."""
    extra: int = 0
    """Further rows a run, of a metric by condition: for large tables."""
    salt: str = ""
    """Goes into run ids and values: another one stands for changed code."""


def make(folder: Path, made: Made | None = None) -> Store:
    """Write a results folder: plan, rows, and a folder a run with manifest and curve."""
    made = made or Made()
    store = Store(folder)
    planned = []
    for dataset in made.datasets:
        for arch in made.archs:
            for method, variants in made.methods.items():
                for seed in made.seeds:
                    run_id = f"{dataset}-{arch}-{method}-s{seed}{made.salt}".replace("/", "-")
                    first = method == next(iter(made.methods))
                    planned.append(PlannedRun(run_id, method, seed, first))
                    rows = run_rows(made, run_id, dataset, arch, method, variants, seed)
                    end = write_failed_run if rows[0].status == FAILED else write_finished_run
                    run = store.open_run(run_id)
                    if rows[0].status != FAILED:
                        (run / "curve.csv").write_text(curve(made, rows, seed))
                    end(run, rows, manifest(made, run_id, seed))
    store.write_plan(
        Plan(made.suite, made.profile, "Made", {"epochs": made.epochs}, tuple(planned))
    )
    store.write_collected(planned)
    return store


def make_old(folder: Path) -> None:
    """Turn a results folder into one of schema 1, as it was before runs had digests."""
    for run in folder.glob("runs/*"):
        (run / "digest.json").unlink()
        edit_json(run / "manifest.json", lambda values: values.pop("schema"))
    edit_json(folder / "plan.json", lambda values: [values.pop(k) for k in ("schema", "sha256")])


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a file holds in place."""
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values, indent=2) + "\n")


def run_rows(
    made: Made,
    run_id: str,
    dataset: str,
    arch: str,
    method: str,
    variants: Mapping[str, float],
    seed: int,
) -> list[Row]:
    """The rows of one run; each number follows from the arguments."""
    identity = {
        "suite": made.suite, "run_id": run_id, "task": "classification", "dataset": dataset,
        "arch": arch, "method": method, "seed": seed,
    }  # fmt: skip
    noise = random.Random(f"{run_id}")
    rows: list[Row] = []

    def add(metric: str, value: float | None, phase: str, variant: str = "", why: str = "") -> None:
        rows.append(
            Row.of(Measurement(metric, value, why), variant=variant, phase=phase, **identity)
        )

    if (method, seed) in made.fail:
        add("top1", 1.0, "test")
        return [
            Row(**{**rows[0].as_dict(), "value": None, "status": FAILED, "reason": "out of memory"})
        ]
    speed = 1 + list(made.methods).index(method) / 4
    gpu = None if made.gpu else made.why
    for variant, width in variants.items():
        top = 70 + 20 * width + noise.gauss(0, 0.5)
        for phase in ("val", "test", "test_best"):
            add("top1", top, phase, variant)
            add("ece", 100 - top, phase, variant)
        add("params_inference", 4e5 * width, "inference", variant)
        add("macs", 4e7 * width, "inference", variant)
        add("latency@1", 0.002 * width * noise.uniform(0.95, 1.05), "inference", variant)
        for number in range(made.extra):
            add(f"latency@{number + 2}", 0.002 * width * number, "inference", variant)
    add("train_time", 10 / speed + noise.gauss(0, 0.1), "train")
    if method in made.outside:
        add("unbudgeted_time", made.outside[method], "setup", why="prepare took it")
    add("mem_peak_resident", 512 * 2**20 / speed, "train")
    add("mem_peak_allocated", 300 * 2**20 / speed if made.gpu else None, "train", why=gpu or "")
    add("energy_gpu_counter", 900 / speed if made.gpu else None, "train", why=gpu or "")
    add("energy_cpu_package", None, "train", why="RAPL needs root")
    for part, share in (("parameters", 1), ("gradients", 1), ("optimizer", 2), ("activations", 9)):
        add(f"mem_{part}", share * 2**20 / speed, "setup")
    add("mem_rest", 3.0 * 2**20 if made.gpu else None, "setup", why=gpu or "")
    return rows


def manifest(made: Made, run_id: str, seed: int) -> dict[str, Any]:
    """What reports read of a manifest."""
    return {
        "run_id": run_id,
        "spec": {"profile": made.profile, "seed": seed, "budget": {"epochs": made.epochs}},
        "device": {"name": made.device, "type": "cuda" if made.gpu else "cpu"},
        "environment": {
            "python": "3.11.7",
            "system": "Linux",
            "depthbench": "0.1.0",
            "packages": {"torch": "2.14.1", "mmengine": "0.10.7", "numpy": "2.4.6"},
            "git": {"commit": f"0123456789abcdef{made.salt}", "dirty": False},
        },
    }


def curve(made: Made, rows: Sequence[Row], seed: int) -> str:
    """Validations that end where the test does."""
    top = next(row.value for row in rows if row.metric == "top1") or 0.0
    header = "phase,epoch,step,seconds,top1" + (",joules" if made.gpu else "")
    lines = [header]
    for epoch in range(1, made.epochs + 1):
        accuracy = top * (1 - 0.5**epoch)
        spent = f",{epoch * 100 + seed}" if made.gpu else ""
        lines.append(f"train,{epoch},{epoch * 10},{epoch * 1.5 + seed / 10},{accuracy}{spent}")
    return "\n".join(lines) + "\n"
