"""``depthbench compare``: methods against a baseline, or results against earlier ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.analysis.compare.comparing import compare_results
from benchmarks.analysis.compare.conditions import MIXABLE, parse_allowed
from benchmarks.analysis.compare.pairs import Comparison
from benchmarks.analysis.compare.tasks import Setting
from benchmarks.cli.gate import gate
from benchmarks.report.comparison import (
    Block,
    closing,
    document,
    failed,
    notes,
    show,
    show_overview,
)
from tasks.errors import UserError


def compare(
    results: Annotated[
        list[Path], typer.Argument(help="Folders that 'depthbench run' wrote to, one or more.")
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            help="The method to compare with, or METHOD:VARIANT; by default that of the suite."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="What to compare in place of the usual metrics, such as ece, top1:val or "
            "latency@1; may be given several times."
        ),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            help="A difference that does not count, as top1=0.5 or train_time=5%: then equivalence "
            "is tested too (not with --against); may be given several times."
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help=f"What runs may differ in, out of {', '.join(MIXABLE)}."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Judge the results against earlier ones, a file of --write or a results folder, "
            "and exit with 1 if any got worse beyond noise, failed or vanished."
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="With --against: the false-alarm rate over all tests.")
    ] = 0.05,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="With --against: fail on what cannot be compared or judged, too."
        ),
    ] = False,
    write: Annotated[
        bool,
        typer.Option("--write", help="With --against FILE: write the results into it instead."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of tables.")
    ] = False,
) -> None:
    """Compare methods with a baseline, or results with earlier ones.

    Every network of every method is compared with the baseline on the same task, data set and
    architecture: n, means, the paired difference (the ratio, of costs) with its 95 % interval, p,
    and what the seeds show. Runs on other hardware, with other kernels (instruction sets, BLAS,
    cuDNN), in another precision, under another profile, budget, recipe or data, or with other seeds
    are refused unless --allow names that.

    With --against, the results as a whole are tested against earlier ones, for CI: see
    docs/compare.md.

    Example: depthbench compare results/quickstart --metric top1 --tolerance top1=1

    Example: depthbench compare results/quickstart --against results/main.csv
    """
    if against is not None:
        if baseline is not None or allow:
            raise UserError("--baseline and --allow compare methods: leave them out with --against")
        gate(results, against, metric, tolerance, alpha, strict, write, as_json)
        return
    if write or strict:
        raise UserError("--write and --strict need --against FILE")
    found = compare_results(
        results, metric or (), baseline, tolerance or (), parse_allowed(allow or ())
    )
    if as_json:
        folders = [str(path) for path in results]
        print(json.dumps({"results": folders, **document(found)}, allow_nan=False))
        return
    blocks: dict[Setting, list[Comparison]] = {}
    for each in found.comparisons:
        blocks.setdefault(each.network.setting, []).append(each)
    for setting, comparisons in blocks.items():
        print(show(Block(comparisons, found.runs[setting])))
    for overview in found.overviews:
        print(show_overview(overview))
    noted = [f"note: {sentence}" for sentence in notes(found)]
    print("\n".join([*failed(found), *noted, closing(found.comparisons)]))
