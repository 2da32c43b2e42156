"""Whether a run and its repetition have the same numbers.

What is counted must be equal wherever it is counted. What follows from the seed must be equal bit
by bit where the same code, data, versions, device and kernels computed it, and within noise
elsewhere: other kernels give other last bits, which training magnifies until the result is as far
from the run's as that of another seed. What a clock, a meter or the system measured is compared as
a ratio, for information.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.records.curve import Point
from benchmarks.records.identity.run_id import deciding
from benchmarks.records.row import OK, Row
from benchmarks.records.verification import FINISHED, read_record
from tasks.errors import UserError

Key = tuple[str, str, str]
"""Metric, phase and variant of a row; column and validation of a curve."""
Number = tuple[str, str, float | None]
"""Unit, kind and value."""

COUNTED, SEEDED, MEASURED = "counted", "seeded", "measured"
USUAL = {"B": 0.10, "": 0.25}
"""Share by which measured values may differ before that is said: memory, all else."""

_COUNTED = (
    *("params", "params_trainable", "params_inference", "weights_bytes"),
    *("macs", "macs_per_pass", "macs_backbone"),
)
_MEASURED_UNITS = ("s", "J", "images/s", "J/image", "W")
_GROUPS = {"s": "times", "B": "memory", "J": "energy", "J/image": "energy", "images/s": "speed"}
_MEASURED = ("mem_rest", "mem_alloc_retries")
_OF_THE_BUDGET = (
    "batches",
    "optimizer_steps",
    "spent_epochs",
    "spent_samples",
    "spent_steps",
    "spent_train_flops",
)
_UNCOMPARED = ("phase", "epoch", "seconds", "joules")
"""Columns of a curve: measured ones, and those that points are matched by."""
_STDS = 3 * math.sqrt(2)
"""A difference of two values that is larger than this many std is not noise."""


@dataclass(frozen=True)
class Compared:
    """One number of the run beside that of its repetition.

    Attributes:
        metric: as rows call it, or a column of the curve.
        phase: of the row; ``epoch N of PHASE`` for the curve.
        variant: the network; empty for the whole run.
        unit: base unit.
        kind: ``counted``, ``seeded`` or ``measured``.
        before: of the run; None where it has no value, or no such row.
        after: of the repetition.
        only: ``before`` or ``after`` where the other has no such row; else empty.
        agrees: whether it is as it must be; of a measured one, whether it is as usual.
        allowed: the difference that was allowed, in the unit; None where none is.
    """

    metric: str
    phase: str
    variant: str
    unit: str
    kind: str
    before: float | None
    after: float | None
    only: str
    agrees: bool
    allowed: float | None = None

    @property
    def equal(self) -> bool:
        """Whether both have the very same value, or both none."""
        return not self.only and self.before == self.after

    @property
    def ratio(self) -> float | None:
        """The repetition's value in that of the run; None where one of them is absent or 0."""
        return self.after / self.before if self.before and self.after is not None else None

    def as_dict(self) -> dict[str, Any]:
        """A mapping that JSON can hold."""
        return {**vars(self), "equal": self.equal, "ratio": self.ratio}


def compare_runs(
    before: tuple[Sequence[Row], Sequence[Point]],
    after: tuple[Sequence[Row], Sequence[Point]],
    exactly: bool,
    points: float,
    watched: bool = False,
    allowed: Mapping[Key, float] | None = None,
) -> list[Compared]:
    """Every number of a run beside that of its repetition.

    Args:
        before: rows and curve of the run.
        after: those of the repetition.
        exactly: whether code, data, versions, device and kernels are the same and repeat bit by
            bit.
        points: by how much metrics in % may differ where they do not.
        watched: whether a clock or a meter ended training, so that steps follow from no seed.
        allowed: the same by metric, phase and variant, in place of ``points``.
    """
    numbers = [
        {**_of_rows(rows, watched), **(_of_curve(curve) if exactly else {})}
        for rows, curve in (before, after)
    ]
    found = []
    for key in dict.fromkeys([*numbers[0], *numbers[1]]):
        only = "" if all(key in each for each in numbers) else "before"
        only = "after" if key not in numbers[0] else only
        unit, kind, _ = numbers[only == "after"][key]
        first, second = (each[key][2] if key in each else None for each in numbers)
        judged = kind == SEEDED and unit == "%" and not exactly
        within = (allowed or {}).get(key, points) if judged else None
        agrees = _agrees(kind, unit, (first, second), only, exactly, within)
        found.append(Compared(*key, unit, kind, first, second, only, agrees, within))
    return found


def kind_of(row: Row, watched: bool = False) -> str:
    """``counted``, ``seeded`` or ``measured``."""
    base = row.metric.split("@")[0]
    # A detector's training step depends on the regions that were sampled in it.
    if base in _COUNTED or (base == "train_flops" and row.task != "detection"):
        return COUNTED
    measured = row.unit in _MEASURED_UNITS or base in _MEASURED or base.startswith("mem_peak_")
    return MEASURED if measured or (watched and base in _OF_THE_BUDGET) else SEEDED


def disagreements(compared: Iterable[Compared]) -> list[Compared]:
    """What keeps a run and its repetition from agreeing: measured values never do."""
    return [each for each in compared if each.kind != MEASURED and not each.agrees]


def allowances(
    rows: Sequence[Row], manifest: Mapping[str, Any], seeds: Sequence[Sequence[Row]]
) -> tuple[dict[Key, float], str]:
    """By how much metrics in % may differ between two processors that ran the same thing.

    Of the std over seeds and the binomial std of a share of n images the larger counts, three
    times, for a difference of two values; never less than one image.

    Args:
        rows: of the run.
        manifest: of the run.
        seeds: rows of the same run with other seeds, of :func:`other_seeds`.

    Returns:
        Points by metric, phase and variant, and what they are made of, in words.
    """
    images, others = split_images(manifest), [_shares(each) for each in seeds]
    points = {}
    for key, value in _shares(rows).items():
        values = [value, *(other[key] for other in others if key in other)]
        stds = [statistics.stdev(values)] if len(values) > 1 else []
        n = images.get(key[1].removesuffix("_best"))
        if n:
            # A share of 0 or all of n images is as uncertain as one of 1 in n.
            share = (min(max(value, 0.0), 100.0) / 100 * n + 1) / (n + 2)
            stds.append(100 * math.sqrt(share * (1 - share) / n))
        if stds:
            points[key] = max(_STDS * max(stds), 100 / n if n else 0.0)
    parts = [f"the std over {1 + len(others)} seeds"] if others else []
    counts = ", ".join(f"{n} {split}" for split, n in images.items())
    return points, " and ".join([*parts, *([f"the number of images ({counts})"] if counts else [])])


def split_images(manifest: Mapping[str, Any]) -> dict[str, int]:
    """How many images ``val`` and ``test`` have; splits that the manifest does not count lack."""
    fingerprint = manifest.get("fingerprint")
    data = fingerprint.get("data") if isinstance(fingerprint, Mapping) else None
    data = data if isinstance(data, Mapping) else {}
    images = data.get("images")
    counts = dict(images) if isinstance(images, Mapping) else {}
    if data.get("val_is_test"):
        counts["test"] = counts.get("val")
    found = {split: counts.get(split) for split in ("val", "test")}
    return {split: n for split, n in found.items() if isinstance(n, int) and n > 0}


def other_seeds(folder: Path, manifest: Mapping[str, Any]) -> list[list[Row]]:
    """Rows of the finished runs beside a run that differ from it by their seed alone."""
    found = {}
    for file in sorted(folder.absolute().parent.glob("*/manifest.json")):
        try:
            other = read_record(file.parent)
            if other is not None and other.status == FINISHED:
                specs = [deciding(each["spec"]) for each in (manifest, other.manifest)]
                seeds = [spec.pop("seed", None) for spec in specs]
                prints = [each.get("fingerprint") for each in (manifest, other.manifest)]
                if specs[0] == specs[1] and prints[0] == prints[1] and seeds[0] != seeds[1]:
                    found[seeds[1]] = other.rows()
        except (UserError, KeyError, TypeError, AttributeError):
            continue  # damaged: it shows no spread
    return list(found.values())


def _agrees(
    kind: str,
    unit: str,
    values: tuple[float | None, float | None],
    only: str,
    exactly: bool,
    within: float | None,
) -> bool:
    before, after = values
    if kind == MEASURED:
        usual = 1 + USUAL.get(unit, USUAL[""])
        if before is None or after is None or not before:
            return before == after
        return 1 / usual <= after / before <= usual
    if only:
        # Newer code may measure more; it may not measure less.
        return only == "after" and not exactly
    if before == after:
        return True
    if kind == COUNTED or exactly or before is None or after is None:
        return False
    # Without bit by bit equality only shares of a test set are bounded by a stated tolerance.
    return within is None or abs(after - before) <= within


def _of_rows(rows: Iterable[Row], watched: bool) -> dict[Key, Number]:
    return {
        (row.metric, row.phase, row.variant): (
            row.unit,
            kind_of(row, watched),
            row.value if row.status == OK else None,
        )
        for row in rows
    }


def _of_curve(curve: Iterable[Point]) -> dict[Key, Number]:
    """What follows from the seed in a curve; no tolerance fits it, so it must be equal or not."""
    return {
        (column, f"epoch {point['epoch']} of {point['phase']}", ""): ("", SEEDED, value)
        for point in curve
        for column, value in point.items()
        if column not in _UNCOMPARED
    }


def _shares(rows: Iterable[Row]) -> dict[Key, float]:
    return {
        (row.metric, row.phase, row.variant): row.value
        for row in rows
        if row.unit == "%" and row.status == OK and row.value is not None
    }


def measured_ratios(compared: Iterable[Compared]) -> list[dict[str, Any]]:
    """Repetition over run of what was measured in both, by what it is, as JSON can hold it."""
    groups: dict[str, list[Compared]] = {}
    for each in compared:
        if each.kind == MEASURED and (each.ratio or 0) > 0:
            kind = _GROUPS.get(each.unit) or (
                f"values in {each.unit}" if each.unit else "other values"
            )
            groups.setdefault(kind, []).append(each)
    found = []
    for kind, members in groups.items():
        ratios = [each.ratio for each in members if each.ratio is not None]
        found.append(
            {
                "kind": kind,
                "ratio": statistics.geometric_mean(ratios),
                "lowest": min(ratios),
                "highest": max(ratios),
                "within": sum(each.agrees for each in members),
                "of": len(members),
                "tolerance": USUAL.get(members[0].unit, USUAL[""]),
                "numbers": [each.as_dict() for each in members],
            }
        )
    return found
