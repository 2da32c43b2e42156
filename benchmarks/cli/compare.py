"""``depthbench compare``: methods against a baseline, by differences of equal seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.analysis.compare.comparing import compare_results
from benchmarks.analysis.compare.conditions import MIXABLE, parse_allowed
from benchmarks.analysis.compare.pairs import Comparison
from benchmarks.analysis.compare.tasks import Setting
from benchmarks.report.comparison import (
    Block,
    closing,
    document,
    failed,
    notes,
    show,
    show_overview,
)


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
            "is tested too; may be given several times."
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help=f"What runs may differ in, out of {', '.join(MIXABLE)}."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of tables.")
    ] = False,
) -> None:
    """Compare methods with a baseline by the differences of runs with the same seed.

    Every network of every method is compared with the baseline on the same task, data set and
    architecture: n, means, the paired difference (the ratio, of costs) with its 95 % interval, p,
    and what the seeds show. Runs on other hardware, with other kernels (instruction sets, BLAS,
    cuDNN), in another precision, under another profile, budget, recipe or data, or with other seeds
    are refused unless --allow names that.

    Example: depthbench compare results/quickstart --metric top1 --tolerance top1=1
    """
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
