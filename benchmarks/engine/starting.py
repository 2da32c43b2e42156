"""The weights that a run starts with, where those are another run's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.records.row import OK, Measurement, Row
from benchmarks.records.run_folder import finished_manifest
from benchmarks.records.store import read_record
from tasks.errors import UserError
from tasks.files.checkpoints import load_plain

INIT_FROM = "init_from"
"""The phase of the rows that tell what the other run took."""
_NO_TRAINING = frozenset({"setup", "val", "test", "val_best", "test_best", "inference"})
_ADDED = ("train_time", "energy_gpu_counter", "energy_cpu_package")


@dataclass(frozen=True)
class Start:
    """Another run's trained weights, and its rows."""

    name: str
    weights: Mapping[str, torch.Tensor]
    rows: tuple[Row, ...]

    def fits(self, model: nn.Module) -> bool:
        """Whether a network has tensors of the same names and shapes."""
        own = {name: value.shape for name, value in model.state_dict().items()}
        return own == {name: value.shape for name, value in self.weights.items()}

    def differing(self, model: nn.Module) -> str:
        """The first tensor that only one of the two has, or has in another shape."""
        own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        theirs = {name: tuple(value.shape) for name, value in self.weights.items()}
        names = [name for name in {**own, **theirs} if own.get(name) != theirs.get(name)]
        return (
            f"{names[0]} is {theirs.get(names[0], 'absent')} there, {own.get(names[0], 'absent')}"
        )

    def costs(self) -> Iterator[Measurement]:
        """What the other run's training took, which adds up with this one's."""
        for metric in _ADDED:
            found = [r for r in self.rows if r.metric == metric and r.phase not in _NO_TRAINING]
            values = [row.value for row in found if row.status == OK and row.value is not None]
            if values:
                yield Measurement(metric, sum(values), f"of {self.name}, which this starts from")


def start_of(planned: Mapping[str, Any], run_folder: Path) -> Start | None:
    """Read what a planned run starts with; None where it draws its weights.

    Raises:
        UserError: the other run has not finished, or its weights cannot be read.
    """
    source = planned.get("init_from")
    if source is None:
        return None
    folder = Path(source["folder"]) if source["folder"] else run_folder.parent / source["run_id"]
    name = planned["spec"]["init_from"]
    try:
        finished_manifest(folder)
        saved = load_plain(folder / "checkpoints" / "latest.pth")
        if not saved.get("phase_done"):
            raise UserError("its checkpoint is not of the end of its training")
        record = read_record(folder)
    except (UserError, OSError) as error:
        raise UserError(f"this run starts from {name}, which cannot be used: {error}") from error
    rows = () if record is None else tuple(record.rows())
    return Start(str(name), saved["state_dict"], rows)
