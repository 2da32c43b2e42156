"""Results folders with chosen values, as ``depthbench run`` leaves them, for comparisons."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.records.row import BUSY, FAILED, Measurement, Row, metric_info
from benchmarks.records.store import (
    Plan,
    PlannedRun,
    Store,
    write_failed_run,
    write_finished_run,
)

PHASES = {
    "train_time": "train",
    "time_to_target": "train",
    "batches": "train",
    "mem_peak_resident": "train",
    "params": "setup",
}
DISTURBED = f"0.1 s of it waiting for data; {BUSY}: threads waited 3 s in 9 s for a core, load 4.1"
NETWORK_METRICS = ("top1", "nll", "params_inference", "macs")

Values = Mapping[str, Mapping[str, Mapping[int, "float | None"]]]
"""Method (or "method:variant") to metric to seed to value; None where it could not be measured."""


@dataclass
class Conditions:
    """What manifests say; the same for all runs of a folder."""

    hardware: str = "Some CPU"
    amp: str | None = None
    profile: str = "short"
    epochs: float = 4
    data: str = "abc"
    batch_size: int = 32
    dataset: str = "digits"
    suite: str = "mine"
    code: str = "1"
    manifests: bool = True
    """Whether there is more than rows: runs with manifests, and a plan."""
    failed: Mapping[tuple[str, int], str] = field(default_factory=dict)
    busy: frozenset[tuple[str, int]] = frozenset()
    """Methods and seeds whose times were measured while others held the cores."""


def write_folder(folder: Path, values: Values, told: Conditions | None = None) -> Path:
    """A results folder with these values; the first method is the baseline of the suite."""
    told = told or Conditions()
    store = Store(folder)
    methods: dict[str, dict[str, Mapping[str, Mapping[int, float | None]]]] = {}
    for name, metrics in values.items():
        method, _, variant = name.partition(":")
        methods.setdefault(method, {})[variant or "full"] = metrics
    planned = []
    for number, (method, variants) in enumerate(methods.items()):
        seeds = {s for metrics in variants.values() for of in metrics.values() for s in of}
        seeds |= {seed for name, seed in told.failed if name == method}
        for seed in sorted(seeds):
            digest = hashlib.sha256(repr((method, seed, variants, told)).encode()).hexdigest()
            run_id = f"{told.dataset}-{method}-s{seed}-{digest[:12]}"
            planned.append(PlannedRun(run_id, method, seed, number == 0))
            identity = {
                "suite": told.suite, "run_id": run_id, "task": "classification",
                "dataset": told.dataset, "arch": "small", "method": method, "seed": seed,
            }  # fmt: skip
            reason = told.failed.get((method, seed))
            if reason is not None:
                rows = [failed_row(identity, reason)]
                write_failed_run(store.open_run(run_id), rows, {"run_id": run_id})
            else:
                rows = finished_rows(identity, variants, seed)
                if (method, seed) in told.busy:
                    rows = [replace(r, reason=DISTURBED) if r.unit == "s" else r for r in rows]
                write_finished_run(store.open_run(run_id), rows, manifest(method, seed, told))
    budget = {"epochs": told.epochs}
    store.write_plan(Plan(told.suite, told.profile, "made", budget, tuple(planned)))
    store.write_collected(planned)
    if not told.manifests:
        (folder / "plan.json").unlink()
        shutil.rmtree(folder / "runs")
    return folder


def finished_rows(
    identity: dict[str, Any],
    variants: Mapping[str, Mapping[str, Mapping[int, float | None]]],
    seed: int,
) -> list[Row]:
    rows = []
    for variant, metrics in variants.items():
        for metric, by_seed in metrics.items():
            if seed not in by_seed:
                continue
            phase = PHASES.get(metric, "inference" if "params" in metric else "test")
            own = {"variant": variant if metric in NETWORK_METRICS else "", "phase": phase}
            reason = "no meter" if by_seed[seed] is None else ""
            rows.append(Row.of(Measurement(metric, by_seed[seed], reason), **own, **identity))
    return rows


def failed_row(identity: dict[str, Any], reason: str) -> Row:
    return Row(
        **identity, variant="", phase="test", metric="top1", value=None,
        unit=metric_info("top1").unit, status=FAILED, reason=reason,
    )  # fmt: skip


def manifest(method: str, seed: int, told: Conditions) -> dict[str, Any]:
    return {
        "label": method,
        "spec": {
            "profile": told.profile,
            "budget": {"epochs": told.epochs},
            "seed": seed,
            "task_options": {"dataset": told.dataset, "arch": "small", "data_root": told.code},
        },
        "recipe": {"batch_size": told.batch_size, "amp": told.amp},
        "device": {"type": "cpu", "name": told.hardware, "threads": 1},
        "fingerprint": {
            "data": {"dataset": told.dataset, "sha256": {"train": told.data}},
            "code": {"method": method, "tasks": told.code, "harness": told.code},
            "versions": {"torch": "2"},
        },
    }


def seeds(*values: float | None) -> dict[int, float | None]:
    """Values of the seeds 0, 1, 2, ..."""
    return dict(enumerate(values))
