"""The rows of one run, and those that its deployable networks give on validation and test."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseModel

from benchmarks.engine.building import Built
from benchmarks.engine.finishing import finish
from benchmarks.engine.snapshot import InTraining, Snapshot
from benchmarks.engine.state import PhaseState
from benchmarks.meters.modes import evaluating
from benchmarks.meters.session import RunMeters
from benchmarks.records.row import REMARK, RESERVED, Measurement, Row, declare_metric, noted
from methods.base import overrides
from tasks.base import Judged, Score, as_score, sealed_test_split
from tasks.errors import UserError

log = logging.getLogger("depthbench")

CHOSEN_ON_TEST = "the best epoch was chosen on these very images: there is no test split"

Scores = dict[tuple[str, str], Mapping[str, Score]]
"""Metrics by variant and split."""


class Rows:
    """The rows of one run, with its identity filled in; no quantity is there more than once."""

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
        self._keys: set[tuple[str, str, str]] = set()
        self.rows: list[Row] = []

    @property
    def metrics(self) -> set[str]:
        """Names of all metrics that there is a row of."""
        return {metric for _, _, metric in self._keys}

    def add(self, variant: str, phase: str, measurement: Measurement) -> None:
        """Add one measurement; ``variant`` is empty for what belongs to the whole run.

        Raises:
            UserError: there is one of the same variant, phase and metric.
        """
        key = variant, phase, measurement.metric
        if key in self._keys:
            raise UserError(
                f"{measurement.metric} of phase '{phase}'"
                + (f" and variant '{variant}'" if variant else "")
                + f" was measured twice in a run of {self._identity['method']}: give the second "
                "one a name of its own"
            )
        self._keys.add(key)
        self.rows.append(Row.of(measurement, variant=variant, phase=phase, **self._identity))

    def value(self, metric: str, phase: str) -> float | None:
        """The first value of a metric in a phase."""
        found = (r.value for r in self.rows if r.metric == metric and r.phase == phase)
        return next(found, None)


def evaluate(
    built: Built,
    held: InTraining,
    state: PhaseState,
    table: Rows,
    meters: RunMeters,
    outcomes: dict[str, Any] | None = None,
) -> dict[str, BaseModel]:
    """Evaluate every variant with the last weights and with the best on validation.

    ``outcomes`` takes what came of each test image with the last weights, by variant.

    Returns:
        The deployable networks with the last weights.

    Raises:
        UserError: training diverged: none of them gives finite outputs for any image.
    """
    networks = variants(built, held.model, meters)
    with meters.window("evaluate"):
        found = scores(built, networks, outcomes)
    refuse_diverged(found)
    last_epoch = state.curve[-1]["epoch"] if state.curve else None
    if state.best is None or state.best_epoch == last_epoch:
        best = found
    else:
        with held.restored(Snapshot(**state.best)) as model:
            if overrides(built.method, "finish"):
                with meters.window("evaluate"):
                    finish(built.task, built.method, model, built.recipe, built.spec.seed)
            chosen = variants(built, model, meters)
            with meters.window("evaluate"):
                best = scores(built, chosen)
    for suffix, values in (("", found), ("_best", best)):
        for (variant, split), metrics in values.items():
            for metric, score in metrics.items():
                chosen_on_test = suffix and split == "test" and built.task.val_is_test
                shown = Score(None, CHOSEN_ON_TEST) if chosen_on_test else score
                measured = Measurement(metric, shown.value, shown.note)
                table.add(variant, split + suffix, noted(measured, remark(built, variant)))
    return networks


def remark(built: Built, variant: str) -> str:
    """The method's remark on a network, as a part of a reason; empty where it has none."""
    text = " ".join(built.method.remark(variant).split())
    return f"{REMARK}{text.replace(';', ',')}" if text else ""


def variants(built: Built, model: BaseModel, meters: RunMeters) -> dict[str, BaseModel]:
    """The deployable networks, made without the test split.

    Raises:
        UserError: there is none, or one has no name: its rows would be those of the whole run.
    """
    with meters.outside("variants"), sealed_test_split("the method, in variants", training=True):
        found = built.method.variants(model)
    if not isinstance(found, Mapping) or not found or not all(found):
        raise UserError(
            f"variants of the method {built.label} gave {_named(found)}: return at least one "
            "deployable network, each under a name"
        )
    return dict(found)


def _named(found: object) -> str:
    return f"networks named {list(found)}" if isinstance(found, Mapping) else repr(found)


def scores(
    built: Built, networks: Mapping[str, BaseModel], outcomes: dict[str, Any] | None = None
) -> Scores:
    """The task's metrics by variant and split; one that serves as both is evaluated once.

    Args:
        built: the run's parts.
        networks: by variant.
        outcomes: takes what came of each test image, by variant.
    """
    outcomes = {} if outcomes is None else outcomes
    found: Scores = {}
    for name, network in networks.items():
        for split in ("val", "test"):
            if split == "test" and built.task.val_is_test:
                found[name, split] = found[name, "val"]
                continue
            values = built.task.evaluate(network, split, built.device)
            of_test = split == "test" or built.task.val_is_test
            if of_test and isinstance(values, Judged):
                outcomes[name] = values.outcomes
            found[name, split] = {key: as_score(value) for key, value in values.items()}
    return found


def refuse_diverged(found: Scores) -> None:
    """Refuse finite weights whose outputs are not: a product of large ones is infinite.

    Raises:
        UserError: no network has finite outputs for any image.
    """
    all_scores = [score for metrics in found.values() for score in metrics.values()]
    if all_scores and all(score.diverged for score in all_scores):
        raise UserError(
            f"training diverged: {all_scores[0].note}; lower the learning rate or clip the gradient"
        )


def add_analysis(built: Built, networks: Mapping[str, BaseModel], table: Rows) -> str:
    """Add what the method's ``analyse`` gives for each network, after everything else.

    Returns:
        Why there is none of it, if ``analyse`` has failed: the metrics that the method declares
        are unavailable then. Empty otherwise.

    Raises:
        UserError: it gives a metric that is the task's or the harness's to measure.
    """
    problem = ""
    measured = table.metrics
    for variant, network in networks.items():
        found: Mapping[str, float | None] = {}
        try:
            with evaluating(network):
                batches = built.task.eval_batches("test", built.device)
                given = dict(built.method.analyse(variant, network, batches))
            found = {name: None if v is None else float(v) for name, v in given.items()}
        except Exception as error:
            log.exception("analyse of %s has failed", built.label)
            problem = " ".join(f"analyse failed: {type(error).__name__}: {error}".split())[:300]
            found = dict.fromkeys(built.method.metrics)
        for metric, value in found.items():
            refuse_measured(metric, measured, built.label)
            declare_metric(metric, built.method.metrics.get(metric.split("@")[0], ""))
            reason = "" if value is not None else problem or "analyse gave no value"
            table.add(variant, "test", Measurement(metric, value, reason))
    return problem


def refuse_measured(metric: str, measured: set[str], method: str) -> None:
    """Refuse a method's metric that is measured by the harness or the task.

    Raises:
        UserError: it is one.
    """
    if metric in measured or metric in RESERVED:
        raise UserError(
            f"the method {method} returns '{metric}' from analyse, which the task or the harness "
            f"measures: give it a name of its own, or a condition such as {metric}@hard"
        )
