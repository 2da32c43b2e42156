"""By how much a metric may differ between two processors that ran the same thing.

Other kernels give other last bits, which training magnifies: the result is as far from the run's as
that of another seed. How far that is, seeds of the same run tell, and the number of images: a share
of n images varies by its binomial std, and moves in steps of 100/n points.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.identity import deciding
from benchmarks.records import OK, Row
from benchmarks.verification import FINISHED, read_record
from tasks.errors import UserError

Key = tuple[str, str, str]
"""Metric, phase and variant of a row."""

_STDS = 3 * math.sqrt(2)
"""A difference of two values that is larger than this many std is not noise."""


@dataclass(frozen=True)
class Allowances:
    """By how much metrics in % may differ.

    Attributes:
        points: by metric, phase and variant.
        seeds: how many seeds of the run their spread is of; 1 if there are no others.
        images: of the splits, as far as the run's manifest holds them.
    """

    points: Mapping[Key, float]
    seeds: int
    images: Mapping[str, int]

    def __str__(self) -> str:
        """What they are made of."""
        parts = [f"the std over {self.seeds} seeds"] if self.seeds > 1 else []
        counts = [f"{n} {split}" for split, n in self.images.items()]
        if counts:
            parts.append(f"the number of images ({', '.join(counts)})")
        return " and ".join(parts)


def allowances(
    rows: Sequence[Row], manifest: Mapping[str, Any], seeds: Sequence[Sequence[Row]]
) -> Allowances:
    """What two runs on different processors may differ by.

    Of the std over seeds and the binomial std the larger counts, three times, for a difference of
    two values; never less than one image.

    Args:
        rows: of the run.
        manifest: of the run.
        seeds: rows of the same run with other seeds, of :func:`other_seeds`.
    """
    images = split_images(manifest)
    others = [_shares(each) for each in seeds]
    points = {}
    for key, value in _shares(rows).items():
        values = [value, *(other[key] for other in others if key in other)]
        stds = [statistics.stdev(values)] if len(values) > 1 else []
        n = images.get(key[1].removesuffix("_best"))
        if n:
            stds.append(_binomial_std(value, n))
        if stds:
            points[key] = max(_STDS * max(stds), 100 / n if n else 0.0)
    return Allowances(points, 1 + len(others), images)


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
            if other is None or other.status != FINISHED:
                continue
            if _same_but_seed(manifest, other.manifest):
                found[other.manifest["spec"]["seed"]] = other.rows()
        except (UserError, KeyError, TypeError, AttributeError):
            continue  # damaged: it shows no spread
    return list(found.values())


def _same_but_seed(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    specs = [deciding(each["spec"]) for each in (one, other)]
    seeds = [spec.pop("seed", None) for spec in specs]
    same = specs[0] == specs[1] and one.get("fingerprint") == other.get("fingerprint")
    return same and seeds[0] != seeds[1]


def _shares(rows: Iterable[Row]) -> dict[Key, float]:
    return {
        (row.metric, row.phase, row.variant): row.value
        for row in rows
        if row.unit == "%" and row.status == OK and row.value is not None
    }


def _binomial_std(points: float, n: int) -> float:
    """In points; a share of 0 or all of n images is as uncertain as one of 1 in n."""
    share = (min(max(points, 0.0), 100.0) / 100 * n + 1) / (n + 2)
    return 100 * math.sqrt(share * (1 - share) / n)
