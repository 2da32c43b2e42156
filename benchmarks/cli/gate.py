"""``depthbench compare --against``: fail a change whose results got worse beyond noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.analysis.compare.gate import columns_judged, judge
from benchmarks.analysis.compare.reference import (
    Reference,
    read_reference,
    summarise_folders,
    write_reference,
)
from benchmarks.analysis.compare.sizes import parse_sizes
from benchmarks.analysis.statistics.arrays import require_between
from benchmarks.records.row import BUSY
from benchmarks.report.gate import conclusion, fails, show_rest, show_tests

GATE_FAILED = 1
"""The exit code where something got worse, failed or vanished."""


def gate(
    results: Annotated[
        list[Path], typer.Argument(help="Folders that 'depthbench run' wrote to, one or more.")
    ],
    against: Annotated[
        Path,
        typer.Option(help="What to hold them against: a file of --write, or a results folder."),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="What to judge in place of the usual metrics, such as ece, top1:val or latency@1; "
            "may be given several times."
        ),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            "--tolerance",
            "--smallest",
            help="The smallest worsening that counts, as top1=0.5 or train_time=10%; may be given "
            "several times.",
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="The chance to fail where nothing changed, over all tests.")
    ] = 0.05,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on what cannot be compared or judged, too.")
    ] = False,
    write: Annotated[
        bool,
        typer.Option(
            "--write", help="Write the results into the file of --against instead of judging them."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of text.")
    ] = False,
) -> None:
    """Fail, with exit code 1, if results got worse beyond noise, failed or vanished.

    Each metric is tested by a one-sided t test over seeds (Welch), the p values adjusted for their
    number; parameters, MACs and other counts may not get worse at all. Times, energies and peak
    memory are compared on the same hardware alone. New results are listed.

    Example: depthbench compare results/quickstart --against results/main.csv
    """
    require_between(alpha, 0, 1, "--alpha")
    found = summarise_folders(results)
    if write:
        count = write_reference(against, found)
        _note(found)
        suites = ", ".join(sorted(found.suites))
        busy = sum(bool(entry.busy) for entry in found.entries.values())
        unjudged = f"; {busy} of them were measured on a {BUSY}, and will not be judged by"
        print(
            json.dumps(
                {
                    "written": str(against),
                    "lines": count,
                    "suites": sorted(found.suites),
                    "busy": busy,
                }
            )
            if as_json
            else f"wrote {count} lines of {suites} to {against}" + (unjudged if busy else "")
        )
        return
    reference = read_reference(against)
    columns = columns_judged(metric or (), reference, found)
    sizes = parse_sizes(tolerance or (), columns, "--tolerance")
    _note(reference)
    _note(found)
    checks = judge(reference, found, columns, alpha, sizes)
    failed = fails(checks, strict)
    if as_json:
        document = {
            "against": str(against),
            "alpha": alpha,
            "passed": not failed,
            "checks": [check.as_dict() for check in checks],
        }
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        parts = [show_tests(checks), *show_rest(checks), conclusion(checks, alpha, strict)]
        print("\n".join(filter(None, parts)))
    if failed:
        raise typer.Exit(GATE_FAILED)


def _note(found: Reference) -> None:
    for mark in found.marks:
        typer.echo(f"note: {mark}", err=True)
