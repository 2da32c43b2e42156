"""Whole runs on a GPU, for processes of their own: what the host waited for in the steps."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.budget import Budget
from benchmarks.conformance.subject import Subject, contained
from benchmarks.engine import building
from benchmarks.engine import run as run_module
from benchmarks.launch import planning
from benchmarks.meters.session import RunMeters
from benchmarks.records.row import OK
from benchmarks.records.store import read_rows
from benchmarks.spec import RunSpec

Report = Callable[[dict[str, Any]], None]


def run(
    gpu: str,
    family: str,
    method: str,
    budget: Mapping[str, float],
    recipe: Mapping[str, Any],
    options: Mapping[str, Any],
    method_file: str | None,
    report: Report,
) -> dict[str, Any]:
    """Plan and carry out a run of the conformance kit's network.

    Args:
        gpu: the module of the device: ``devices.fake_gpu``, or ``devices.real_gpu``.

    Returns:
        ``waits`` by place and ``launches`` in the steps that were watched, ``steps``: how many they
        were, ``planned_seconds`` of the run, and ``missing``: the reasons of rows without a value
        by metric.
    """
    watched = 0
    device: Any = importlib.import_module(gpu)

    class Watched(RunMeters):
        """Logs from step to step of the training window, and nothing that is no training."""

        def begin_step(self, images: int) -> None:
            nonlocal watched
            super().begin_step(images)
            device.LOG.on = self.clock.innermost == "train"
            watched += device.LOG.on

        def open(self, name: str) -> None:
            device.LOG.on = False
            super().open(name)

        def close(self) -> None:
            device.LOG.on = False
            super().close()

    building.select_device = lambda name: device.GPU
    run_module.RunMeters = Watched  # type: ignore[misc]
    # What the code is does not matter here, and reading it takes longer than the run.
    planning.fingerprint = lambda built: {}  # type: ignore[assignment]
    run_module.require_planned_code = lambda *_: None
    folder = tempfile.mkdtemp()
    with contained(), device.attached():
        if method_file is not None:
            building.import_method_file(method_file)
        subject = Subject(method, options, task=family)
        spec = RunSpec(
            suite="fake",
            profile="smoke",
            task=family,
            task_options={**subject.ground.options, "arch": subject.arch},
            method=method,
            method_options=subject.options,
            seed=0,
            budget=Budget(budget),
            recipe={**subject.ground.recipe, **recipe},
            threads=1,
            # Timing a network takes longer than training it here: once in each family is enough.
            latency_batch_sizes=(1,) if method == "end_to_end" else (),
        )
        (plan,) = planning.plan_runs([spec.to_dict()], report, estimate=True)
        run_module.execute(plan, folder, report)
    rows = read_rows(Path(folder, "rows.csv"))
    return {
        "waits": dict(device.LOG.waits),
        "launches": device.LOG.launches,
        "steps": watched,
        "planned_seconds": plan["seconds"],
        "missing": {row.metric: row.reason for row in rows if row.status != OK},
    }
