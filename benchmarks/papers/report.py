"""Reported beside measured: as Markdown, CSV, JSON, and on a terminal."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from benchmarks.papers.judging import Finding
from benchmarks.papers.planning import Reproduction
from benchmarks.records import cells
from benchmarks.records.files import write_text_atomic
from benchmarks.report.console import console
from benchmarks.report.text import markdown_cell, markdown_escape, markdown_line

HEADINGS = (
    *("table", "data", "network", "method", "variant", "metric"),
    *("reported", "measured", "difference", "verdict"),
)
NUMBERS = ("reported", "measured", "difference")
MISSING = "–"


class Notes:
    """Footnotes, each text once, numbered from 1 as they are first used."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def mark(self, text: str) -> str:
        """``" [3]"``; nothing for no text."""
        if not text:
            return ""
        if text not in self.texts:
            self.texts.append(text)
        return f" [{self.texts.index(text) + 1}]"


def lines(findings: Sequence[Finding]) -> tuple[list[list[str]], list[str]]:
    """The cells of every line, in the order of ``HEADINGS``, and the footnotes."""
    notes = Notes()
    body = []
    for found in findings:
        claim = found.claim
        body.append(
            [
                *(claim.table, claim.dataset, claim.arch, claim.method, claim.variant),
                f"{claim.metric} ({claim.unit})",
                f"{claim.value}" + (f" ± {claim.spread}" if claim.spread is not None else ""),
                _measured(found),
                _number(found.difference, found, sign="+"),
                found.verdict + notes.mark(found.reason),
            ]
        )
    return body, notes.texts


def _measured(found: Finding) -> str:
    text = _number(found.mean, found)
    if not found.n:
        return text
    spread = "" if found.std is None else f" ± {_number(found.std, found)}"
    return f"{text}{spread} (n={found.n})"


def _number(value: float | None, found: Finding, sign: str = "") -> str:
    """With a digit more than the claim was printed with."""
    if value is None:
        return MISSING
    digits = max(0, -int(found.claim.value.as_tuple().exponent)) + 1
    return f"{value:{sign}.{digits}f}"


def heading(reproduction: Reproduction) -> str:
    """What was reproduced, and how."""
    table = f" table {reproduction.table}" if reproduction.table else ""
    count = len(reproduction.seeds)
    seeds = f"seed{'s' * (count > 1)} {', '.join(map(str, reproduction.seeds))}"
    seeds += " (mean ± std)" if count > 1 else ""
    devices = dict.fromkeys(str(j.planned["fingerprint"]["device"]) for j in reproduction.jobs)
    where = f"; measured on {', '.join(devices)}" if devices else ""
    return f"{reproduction.paper}{table}; profile {reproduction.setting.profile}; {seeds}{where}"


def totals(findings: Sequence[Finding]) -> str:
    """``20 claims: 12 reproduced, 8 not run``."""
    counts = Counter(found.verdict for found in findings)
    return f"{len(findings)} claims: " + ", ".join(f"{n} {v}" for v, n in counts.most_common())


def markdown(reproduction: Reproduction, findings: Sequence[Finding]) -> str:
    """The file ``reproduction.md``."""
    from tabulate import tabulate

    body, notes = lines(findings)
    shown = [[markdown_cell(cell) for cell in line] for line in body]
    align = ["right" if name in NUMBERS else "left" for name in HEADINGS]
    table = tabulate(shown, HEADINGS, tablefmt="pipe", disable_numparse=True, colalign=align)
    legend = "  \n".join(f"[{n}] {markdown_escape(text)}" for n, text in enumerate(notes, 1))
    parts = [markdown_line(heading(reproduction) + "."), table, legend, totals(findings) + "."]
    return "\n\n".join(filter(None, parts)) + "\n"


def comma_separated(reproduction: Reproduction, findings: Sequence[Finding]) -> str:
    """The file ``reproduction.csv``: unrounded, a missing number is an empty field."""
    text = io.StringIO()
    records = [
        {**found.as_dict(), "profile": reproduction.setting.profile, "runs": " ".join(found.runs)}
        for found in findings
    ]
    writer = csv.DictWriter(text, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    for each in records:
        writer.writerow(dict(zip(each, cells.record(each.values()), strict=True)))
    return text.getvalue()


def write(folder: Path, reproduction: Reproduction, findings: Sequence[Finding]) -> list[Path]:
    """Write ``reproduction.md`` and ``reproduction.csv``, and return their paths."""
    made = {
        folder / "reproduction.md": markdown(reproduction, findings),
        folder / "reproduction.csv": comma_separated(reproduction, findings),
    }
    for path, text in made.items():
        write_text_atomic(path, text)
    return list(made)


def print_findings(reproduction: Reproduction, findings: Sequence[Finding]) -> None:
    """The table, its footnotes and how many claims got which verdict."""
    screen = console()
    body, notes = lines(findings)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in HEADINGS:
        table.add_column(name, justify="right" if name in NUMBERS else "left")
    for line in body:
        table.add_row(*map(Text, line))
    screen.print(Text(heading(reproduction)))
    screen.print(table)
    for number, text in enumerate(notes, 1):
        screen.print(Text(f"[{number}] {_one_line(text)}"))
    screen.print(Text(totals(findings)))


def _one_line(text: str) -> str:
    return " ".join(text.split())
