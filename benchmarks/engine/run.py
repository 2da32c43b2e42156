"""One run in its own process: build, train, evaluate, cost, record."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.model import BaseModel

from benchmarks.engine.building import build_run, prepared_model
from benchmarks.engine.costing import variant_costs
from benchmarks.engine.evaluation import Rows, add_analysis, evaluate
from benchmarks.engine.fingerprint import require_planned_code
from benchmarks.engine.hooks import Report
from benchmarks.engine.session import TrainingSession
from benchmarks.engine.spent_rows import phase_rows, run_rows
from benchmarks.engine.starting import INIT_FROM, start_of
from benchmarks.meters.device import describe_device
from benchmarks.meters.kernels import kernel_facts
from benchmarks.meters.session import RunMeters
from benchmarks.meters.train_operations import TrainOperations
from benchmarks.records import cells
from benchmarks.records.files import write_json_atomic, write_text_atomic
from benchmarks.records.manifest import Segments, environment, now
from benchmarks.records.outcomes import write_outcomes
from benchmarks.records.row import Measurement, stored_metrics
from benchmarks.records.store import RUNNING, read_manifest, write_finished_run
from benchmarks.records.verification import OUTCOMES
from benchmarks.spec import RunSpec
from tasks.base import sealed_test_split
from tasks.errors import UserError

log = logging.getLogger("depthbench")


def execute(planned: Mapping[str, Any], run_folder: str, report: Report) -> None:
    """Carry out one planned run and leave its folder finished.

    Training resumes from the last checkpoint where there is one. Rows and manifest are written
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
    with warnings_as_notes(report):
        built = build_run(RunSpec.from_dict(planned["spec"]))
    require_planned_code(built, planned)
    segments = Segments((read_manifest(folder) or {}).get("segments", []))
    manifest: dict[str, Any] = {
        "run_id": planned["run_id"],
        "label": built.label,
        "spec": planned["spec"],
        "fingerprint": planned["fingerprint"],
        "sources": {"method": list(built.method.sources), "task": list(built.task.sources)},
        "recipe": vars(built.recipe),
        "metrics": stored_metrics({**built.task.metrics, **built.method.metrics}),
        "environment": environment(),
        "device": describe_device(built.device),
        "created": now(),
        **({"init_from": planned["init_from"]} if "init_from" in planned else {}),
    }

    started = {**manifest, "status": RUNNING, "segments": segments.listed()}
    write_json_atomic(folder / "manifest.json", started)
    meters = RunMeters(built.device, operations_meter(built.spec))
    start = start_of(planned, folder)
    with warnings_as_notes(report):
        model = prepared_model(
            built, lambda text: report({"event": "note", "text": text}), meters.outside, start
        )
    session = TrainingSession(
        built.task,
        built.method,
        model,
        built.recipe,
        planned["batches"],
        built.spec.seed,
        built.device,
        meters,
        folder,
        built.spec.validate_every,
        report,
        metered=built.spec.budget.metered,
        optimizer_steps=built.spec.budget.amounts.get("steps"),
    )
    table = Rows(built, planned["run_id"])
    with meters.running():
        with sealed_test_split("the method, while it trained"):
            state = session.run()
        require_finite(model)
        report({"event": "progress", "phase": "evaluate", "batch": 1, "batches": 1})
        outcomes: dict[str, Any] = {}
        networks = evaluate(built, session.held, state, table, meters, outcomes)
    for phase, measurement in phase_rows(built, meters, state, planned["batches_per_epoch"]):
        table.add("", phase, measurement)
    table.add("", "setup", Measurement("budget_spent", 100 * session.spent))
    for measurement in start.costs() if start is not None else ():
        table.add("", INIT_FROM, measurement)
    for measurement in run_rows(meters, model, session.held.companions):
        table.add("", "setup", measurement)
    for name, network in networks.items():
        for measurement in variant_costs(built, network):
            table.add(name, "inference", measurement)
    problem = add_analysis(built, networks, table)
    write_text_atomic(folder / "curve.csv", curve_csv(state.curve))
    if outcomes:
        write_outcomes(folder / OUTCOMES, outcomes)
    segments.close()
    # Once more: a method may have set flags of its own.
    manifest["device"] |= kernel_facts(built.device)
    manifest.update(
        phases=[
            {
                "name": p.name,
                "batches": p.batches,
                "samples": p.samples,
                "optimizer_steps": p.optimizer_steps,
            }
            for p in state.finished
        ],
        best_epoch=state.best_epoch,
        meters=meters.facts(),
        segments=segments.listed(),
        finished=now(),
        **({"analysis_problem": problem} if problem else {}),
    )
    write_finished_run(folder, table.rows, manifest)
    top = table.value(built.task.headline, "test")
    report({"event": "metric", "phase": "test", built.task.headline: top})


def operations_meter(spec: RunSpec) -> TrainOperations:
    """Counts training FLOPs: in every step where the budget needs them, now and then elsewhere.

    A budget needs each operation counted; other runs go without a value where one has no known
    count.
    """
    return TrainOperations(strict="train_flops" in spec.budget.amounts, seed=spec.seed)


def require_finite(model: BaseModel) -> None:
    """Refuse a trained model with weights that are no numbers.

    Raises:
        UserError: names the first such weight.
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(
                f"training diverged: '{name}' has values that are not finite at its end; lower "
                "the learning rate or clip the gradient"
            )


def curve_csv(curve: list[dict[str, Any]]) -> str:
    """The validations of a run, a line each; floats as ``repr`` so that they read back equal."""
    columns = list(dict.fromkeys(key for point in curve for key in point))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for point in curve:
        writer.writerow(dict(zip(point, cells.record(point.values()), strict=True)))
    return text.getvalue()


@contextmanager
def warnings_as_notes(report: Report) -> Iterator[None]:
    """Report what is logged as a warning inside: what a task finds odd in its data, say."""

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            report({"event": "note", "text": record.getMessage()})

    handler = Notes(logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
