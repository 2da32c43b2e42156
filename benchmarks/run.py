"""One run in its own process: build, train, evaluate, cost, record."""

from __future__ import annotations

import copy
import csv
import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel

from benchmarks.building import Built, build_run, prepared_model
from benchmarks.costing import training_costs, variant_costs
from benchmarks.files import write_json_atomic, write_text_atomic
from benchmarks.fingerprint import require_planned_code
from benchmarks.manifest import Segments, environment, now
from benchmarks.meters.device import describe_device
from benchmarks.meters.kernels import kernel_facts
from benchmarks.meters.modes import evaluating
from benchmarks.meters.session import RunMeters
from benchmarks.meters.train_operations import TrainOperations
from benchmarks.records import Measurement, Row, declare_metric
from benchmarks.spec import RunSpec
from benchmarks.spent_rows import phase_rows
from benchmarks.store import RUNNING, read_manifest, write_finished_run
from benchmarks.training.hooks import Report
from benchmarks.training.session import TrainingSession
from benchmarks.training.state import PhaseState
from tasks.base import Score, as_score

log = logging.getLogger("depthbench")

CHOSEN_ON_TEST = "the best epoch was chosen on these very images: there is no test split"


def execute(planned: Mapping[str, Any], run_folder: str, report: Report) -> None:
    """Carry out one planned run and leave its folder finished.

    Training goes on from the last checkpoint where there is one. Rows and manifest are written
    at the very end, the manifest last, so that a folder is either finished or to be continued.

    Args:
        planned: one item of ``planning.plan_runs``.
        run_folder: the run's folder; made if absent.
        report: takes progress, metric and note events.

    Raises:
        UserError: the run cannot work (a loss that became NaN, data that vanished).
    """
    folder = Path(run_folder)
    folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    built = build_run(RunSpec.from_dict(planned["spec"]))
    require_planned_code(built, planned)
    segments = Segments((read_manifest(folder) or {}).get("segments", []))
    manifest: dict[str, Any] = {
        "run_id": planned["run_id"],
        "label": built.label,
        "spec": planned["spec"],
        "fingerprint": planned["fingerprint"],
        "recipe": vars(built.recipe),
        "environment": environment(),
        "device": describe_device(built.device),
        "created": now(),
    }

    started = {**manifest, "status": RUNNING, "segments": segments.listed()}
    write_json_atomic(folder / "manifest.json", started)
    meters = RunMeters(built.device, operations_meter(built.spec))
    model = prepared_model(built, lambda text: report({"event": "note", "text": text}))
    session = TrainingSession(
        built.task,
        built.method,
        model,
        built.recipe,
        planned["steps"],
        built.spec.seed,
        built.device,
        meters,
        folder,
        built.spec.validate_every,
        report,
        metered=built.spec.budget.metered,
    )
    with meters.running():
        state = session.run()
        table = Rows(built, planned["run_id"])
        report({"event": "progress", "phase": "evaluate", "step": 1, "steps": 1})
        networks = built.method.variants(model)
        with meters.window("evaluate"):
            evaluate(built, model, networks, state, table)
    for phase, measurement in phase_rows(built, meters, state, planned["batches_per_epoch"]):
        table.add("", phase, measurement)
    for measurement in training_costs(built, model):
        table.add("", "setup", measurement)
    for name, network in networks.items():
        for measurement in variant_costs(built, network):
            table.add(name, "inference", measurement)
    write_text_atomic(folder / "curve.csv", curve_csv(state.curve))
    segments.close()
    # Once more: flags such as cuDNN's are set while training begins.
    manifest["device"] |= kernel_facts(built.device)
    manifest.update(
        phases=[{"name": p.name, "steps": p.steps} for p in state.finished],
        best_epoch=state.best_epoch,
        meters=meters.facts(),
        segments=segments.listed(),
        finished=now(),
    )
    write_finished_run(folder, table.rows, manifest)
    top = table.value(built.task.headline, "test")
    report({"event": "metric", "phase": "test", built.task.headline: top})


def operations_meter(spec: RunSpec) -> TrainOperations | None:
    """Counts training FLOPs where the budget or a target asks for them, and else does not.

    A budget needs each operation counted; a target goes without its price in FLOPs where one has
    no known count.
    """
    in_budget = "train_flops" in spec.budget.amounts
    return TrainOperations(in_budget) if in_budget or spec.target is not None else None


class Rows:
    """The rows of one run, with its identity filled in."""

    def __init__(self, built: Built, run_id: str) -> None:
        self._identity = {
            "suite": built.spec.suite,
            "run_id": run_id,
            "task": built.task.family,
            "dataset": built.task.dataset,
            "arch": built.task.arch,
            "method": built.label,
            "seed": built.spec.seed,
        }
        self.rows: list[Row] = []

    def add(self, variant: str, phase: str, measurement: Measurement) -> None:
        """Add one measurement; ``variant`` is empty for what belongs to the whole run."""
        self.rows.append(Row.of(measurement, variant=variant, phase=phase, **self._identity))

    def value(self, metric: str, phase: str) -> float | None:
        """The first value of a metric in a phase."""
        found = (r.value for r in self.rows if r.metric == metric and r.phase == phase)
        return next(found, None)


def evaluate(
    built: Built,
    model: BaseModel,
    networks: Mapping[str, BaseModel],
    state: PhaseState,
    table: Rows,
) -> None:
    """Evaluate every variant with the last weights and with the best on validation."""
    found = scores(built, networks)
    last_epoch = state.curve[-1]["epoch"] if state.curve else None
    if state.best_weights is None or state.best_epoch == last_epoch:
        best = found
    else:
        with weights(model, state.best_weights):
            best = scores(built, built.method.variants(model))
    for suffix, values in (("", found), ("_best", best)):
        for (variant, split), metrics in values.items():
            for metric, score in metrics.items():
                chosen_on_test = suffix and split == "test" and built.task.val_is_test
                shown = Score(None, CHOSEN_ON_TEST) if chosen_on_test else score
                table.add(variant, split + suffix, Measurement(metric, shown.value, shown.note))
    for variant, network in networks.items():
        with evaluating(network):
            batches = built.task.eval_batches("test", built.device)
            for metric, value in built.method.analyse(variant, network, batches).items():
                declare_metric(metric, built.method.metrics.get(metric.split("@")[0], ""))
                table.add(variant, "test", Measurement(metric, value))


def scores(
    built: Built, networks: Mapping[str, BaseModel]
) -> dict[tuple[str, str], Mapping[str, Score]]:
    """The task's metrics by variant and split; one that serves as both is evaluated once."""
    found: dict[tuple[str, str], Mapping[str, Score]] = {}
    for name, network in networks.items():
        for split in ("val", "test"):
            if split == "test" and built.task.val_is_test:
                found[name, split] = found[name, "val"]
                continue
            values = built.task.evaluate(network, split, built.device)
            found[name, split] = {key: as_score(value) for key, value in values.items()}
    return found


@contextmanager
def weights(model: BaseModel, state: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Hold other weights for a while."""
    own = copy.deepcopy(model.state_dict())
    model.load_state_dict(state)
    try:
        yield
    finally:
        model.load_state_dict(own)


def curve_csv(curve: list[dict[str, Any]]) -> str:
    """The validations of a run, a line each; floats as ``repr`` so that they read back equal."""
    columns = list(dict.fromkeys(key for point in curve for key in point))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(curve)
    return text.getvalue()
