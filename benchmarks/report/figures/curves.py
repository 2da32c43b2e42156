"""Learning curves from the runs' ``curve.csv``."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.analysis.columns import QUALITIES, Column
from benchmarks.analysis.load import Run
from benchmarks.analysis.statistics.samples import describe
from benchmarks.records.row import METRICS
from benchmarks.report.figures.panels import Curve, Curves
from benchmarks.report.layout import axis_label
from tasks.errors import UserError

AXES = {"epoch": "epochs", "seconds": "training time (s)", "joules": "energy (J)"}
"""Columns of ``curve.csv`` that tell what training has spent."""

Points = list[dict[str, float]]
"""A run's validations in order; what was not measured is not in them."""


def read_curve(file: Path) -> Points:
    """The validations of a run; ``epoch`` continues over phases that count their own.

    Raises:
        UserError: the file is damaged or cut short; names the line.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}") from error
    if text.strip() and not text.endswith("\n"):
        raise UserError(f"{file}: the last line is cut short; leave out this run or run it again")
    reader = csv.reader(io.StringIO(text, newline=""))
    header = next(reader, [])
    points: Points = []
    phase, before = "", 0.0
    for cells in reader:
        line = dict(zip(header, cells, strict=False))
        if len(cells) != len(header):
            raise UserError(
                f"{file}:{reader.line_num}: {len(cells)} fields instead of {len(header)}; leave "
                "out this run or run it again"
            )
        if line.get("phase", "") != phase and points:
            before = points[-1].get("epoch", 0.0)
        phase = line.pop("phase", "")
        try:
            point = {key: float(cell) for key, cell in line.items() if cell}
        except ValueError as error:
            raise UserError(f"{file}:{reader.line_num}: {error}") from error
        point = {key: value for key, value in point.items() if math.isfinite(value)}
        if "epoch" in point:
            point["epoch"] += before
        points.append(point)
    return points


def quality_of(curves: Sequence[Points]) -> str | None:
    """The metric that stands for the task, if the curves have one."""
    found = {key for points in curves for point in points for key in point}
    return next((metric for metric in QUALITIES if metric in found), None)


def learning_curves(
    runs: Mapping[tuple[str, str], Sequence[Points]], axis: str, metric: str
) -> Curves:
    """Means over seeds, validation by validation, as far as all seeds of a method go.

    Args:
        runs: the seeds' validations by method and architecture.
        axis: a key of :data:`AXES`.
        metric: what was measured on validation.
    """
    info = METRICS[metric]
    curves = []
    for (method, arch), seeds in runs.items():
        kept = [
            [(p[axis], p[metric] / info.scale) for p in points if axis in p and metric in p]
            for points in seeds
        ]
        steps = [list(step) for step in zip(*filter(None, kept), strict=False)]
        if not steps:
            continue
        x = [describe([point[0] for point in step]) for step in steps]
        y = [describe([point[1] for point in step]) for step in steps]
        curves.append(
            Curve(
                method,
                arch,
                tuple(sample.mean for sample in x),
                tuple(sample.mean for sample in y),
                tuple(sample.std for sample in y if sample.std is not None),
            )
        )
    return Curves(AXES[axis], f"{axis_label(Column(metric, 'val'))}", tuple(curves))


def curves_of(runs: Sequence[Run]) -> tuple[dict[tuple[str, str], list[Points]], int]:
    """The validations of runs by method and architecture, and how many runs have left none."""
    found: dict[tuple[str, str], list[Points]] = {}
    absent = 0
    for run in runs:
        file = run.folder / "curve.csv"
        points = read_curve(file) if file.exists() else []
        if points:
            found.setdefault((run.method, run.setting[2]), []).append(points)
        else:
            absent += 1
    return found, absent
