"""``depthbench verify``: the papers' exact figures, computed without training."""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated

import typer
from rich.table import Table

from benchmarks.papers.claims import read_claims
from benchmarks.papers.verdicts import CONTRADICTED, REPRODUCED, Checked, check
from benchmarks.report.console import console


def verify(
    paper: Annotated[
        list[str] | None,
        typer.Option(help="Only this paper, such as adn; may be given several times."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every claim as one JSON list instead of a table.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if an exact claim is contradicted.")
    ] = False,
) -> None:
    """Compute the exact values that papers report; no training.

    A figure is reproduced if it rounds to the printed one: the tolerance is half a unit of the
    last printed digit. Claims that take training or other hardware get a verdict that says so.

    Example: depthbench verify --paper adn
    """
    claims = read_claims(paper or ())
    checked = []
    with console(stderr=True).status("computing") as status:
        for number, claim in enumerate(claims, 1):
            status.update(f"computing: {number} of {len(claims)} claims")
            checked.append(check(claim))
    if as_json:
        print(json.dumps([each.as_dict() for each in checked], indent=2))
    else:
        print_verdicts(checked)
    if strict and any(each.verdict == CONTRADICTED for each in checked):
        raise typer.Exit(1)


def print_verdicts(checked: list[Checked]) -> None:
    """What was computed as a table, why figures do not hold, and the rest by reason."""
    computed = [each for each in checked if each.computed is not None]
    if computed:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for column in ("paper", "table", "claim", "metric"):
            table.add_column(column)
        for column in ("reported", "computed", "difference"):
            table.add_column(column, justify="right")
        table.add_column("counting")
        table.add_column("plain", justify="right")
        table.add_column("verdict")
        for each in computed:
            claim = each.claim
            digits = max(0, -int(claim.value.as_tuple().exponent)) + 1
            table.add_row(
                claim.paper,
                claim.table,
                _what(each),
                claim.metric,
                f"{claim.value} {claim.unit}",
                f"{each.computed:.{digits}f}",
                f"{each.difference:+.{digits}f}",
                each.counting,
                f"{each.plain:.{digits}f}",
                each.verdict,
            )
        console().print(table)
    missed = [each for each in computed if each.verdict != REPRODUCED]
    for each in missed:
        claim = each.claim
        print(
            f"{each.verdict}: {claim.paper} table {claim.table}, {_what(each)}, {claim.metric} "
            f"{claim.value}: {each.reason}"
        )
    rest = Counter(
        (each.claim.paper, each.verdict, each.reason) for each in checked if each.computed is None
    )
    if rest:
        print("\nnot computed (--json lists each claim):")
    for (paper, verdict, reason), count in sorted(rest.items()):
        print(f"  {paper}  {count:>3}  {verdict}: {reason}")
    totals = Counter(each.verdict for each in checked)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in totals.most_common())
    print(f"\n{len(checked)} claims: {counts}")


def _what(each: Checked) -> str:
    claim = each.claim
    parts = dict.fromkeys((claim.dataset, claim.arch, claim.method, claim.variant))
    return " ".join(filter(None, parts))
