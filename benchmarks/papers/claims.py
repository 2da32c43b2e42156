"""What the papers report: a figure a row, read from ``benchmarks/papers/PAPER.csv``.

A claim keeps the unit and the digits that it was printed with, and is compared in them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

from tasks.errors import UserError, unknown_name

COLUMNS = (
    "paper",
    "table",
    "task",
    "dataset",
    "arch",
    "method",
    "variant",
    "metric",
    "value",
    "spread",
    "unit",
    "hardware",
    "note",
)

EXACT = {
    "params": "M",
    "gmacs": "GMACs/image",
    "gflops": "GFLOPs/image",
    "mflops": "MFLOPs/image",
    "disk_size": "MB",
    "gmacs_reduction": "%",
    "disk_size_reduction": "%",
}
"""Metrics that follow from the network alone, and the unit that they are printed in."""

ON_HARDWARE = frozenset({"latency", "train_time", "latency_reduction", "energy_reduction"})
"""Metrics of a certain machine."""

TRAINED = frozenset(
    {"top1", "top5", "nll", "ece", "diversity", "box_ap", "mask_ap", "ppl"}
    | {"layers", "fpi_iterations"}
)
"""Metrics of trained weights."""

_MAY_BE_EMPTY = {"arch", "variant", "spread", "hardware", "note"}
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True)
class Claim:
    """One reported figure; the columns of a claims file."""

    paper: str
    table: str
    task: str
    dataset: str
    arch: str
    method: str
    variant: str
    metric: str
    value: Decimal
    """With the digits as printed: 28.3 is not 28.30."""
    spread: Decimal | None
    unit: str
    hardware: str
    note: str

    @property
    def half_unit(self) -> float:
        """Half a unit of the last printed digit: what rounding may have changed."""
        return float(Decimal((0, (5,), int(self.value.as_tuple().exponent) - 1)))

    def as_dict(self) -> dict[str, Any]:
        """The columns, numbers as floats and a missing spread as None."""
        spread = None if self.spread is None else float(self.spread)
        return {**asdict(self), "value": float(self.value), "spread": spread}


def papers() -> list[str]:
    """Every paper that claims are kept of."""
    return sorted(path.stem for path in _folder().glob("*.csv"))


def read_claims(wanted: Iterable[str] = ()) -> list[Claim]:
    """The claims of these papers, or of all, in the order of the files.

    Raises:
        UserError: no such paper, or a file that is not as it should be.
    """
    known = papers()
    chosen = list(dict.fromkeys(wanted)) or known
    for paper in chosen:
        if paper not in known:
            raise unknown_name("paper", paper, known)
    return [claim for paper in chosen for claim in read_claims_file(_folder() / f"{paper}.csv")]


def read_claims_file(path: Path) -> list[Claim]:
    """The claims of one file, whose name is the paper's.

    Raises:
        UserError: names the file and the line that is not as it should be.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text; save it as such") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines: dict[tuple[str, ...], int] = {}
    claims: list[Claim] = []
    try:
        if next(reader, None) != list(COLUMNS):
            raise ValueError(f"the header must be {','.join(COLUMNS)}")
        for cells in reader:
            claim = _claim(cells, path.stem)
            key = tuple(cells[: COLUMNS.index("value")])
            if key in lines:
                raise ValueError(f"the same figure as in line {lines[key]}; delete one of them")
            lines[key] = reader.line_num
            claims.append(claim)
    except (ValueError, UserError, csv.Error) as error:
        raise UserError(f"{path}:{max(reader.line_num, 1)}: {error}") from error
    return claims


def _claim(cells: list[str], paper: str) -> Claim:
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} fields instead of {len(COLUMNS)}")
    row = dict(zip(COLUMNS, cells, strict=True))
    for column, cell in row.items():
        if cell != cell.strip():
            raise ValueError(f"spaces around '{cell.strip()}' in the column {column}")
        if not cell and column not in _MAY_BE_EMPTY:
            raise ValueError(f"the column {column} is empty")
    if row["paper"] != paper:
        raise ValueError(f"paper '{row['paper']}' in the file of '{paper}'")
    metric = row["metric"]
    if metric not in EXACT and metric not in ON_HARDWARE | TRAINED:
        raise unknown_name("metric", metric, [*EXACT, *ON_HARDWARE, *TRAINED])
    if row["unit"] != EXACT.get(metric, row["unit"]):
        raise ValueError(f"{metric} is given in {EXACT[metric]}, not in {row['unit']}")
    value = _number("value", row.pop("value"))
    text = row.pop("spread")
    return Claim(**row, value=value, spread=_number("spread", text) if text else None)


def _number(column: str, text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"the {column} '{text}' is not a number such as 25.58")
    return Decimal(text)


def _folder() -> Path:
    return Path(str(resources.files("benchmarks") / "papers"))
