"""What the published results say of a method: lines of their tables, beside the baseline's.

It reads the tables that ``depthbench`` wrote, so the pages need neither torch nor NumPy, and a
suite that is republished is on every card.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "results" / "published"
_NOTE = re.compile(r"\[(\d+)\] ")


def measured(method: str, top: str = "", published: Path = PUBLISHED) -> str:
    """Of each published suite, what its table says of a method, with links to the runs.

    Args:
        method: its registered name.
        top: how a link from the page gets to the top of the site.
        published: the folder of published suites, ``results/published`` of a checkout.
    """
    parts = [
        part
        for path in sorted(published.glob("*/table.md"))
        if (path.parent / "plan.json").exists()
        for part in _of(path, method, f"{top}results/published/{path.parent.name}")
    ]
    return "\n\n".join(parts) or "No published results yet."


def _of(path: Path, method: str, link: str) -> Iterator[str]:
    runs = json.loads((path.parent / "plan.json").read_text(encoding="utf-8"))["runs"]
    own = [run for run in runs if _manifest(path.parent, run)["spec"]["method"] == method]
    labels = {run["label"] for run in own}
    baselines = {run["label"] for run in runs if run["baseline"]}
    lines = path.read_text(encoding="utf-8").splitlines()
    header, rule, *body = [line for line in lines if line.startswith("|")]
    column = _cells(header).index("method")
    if not any(_cells(line)[column] in labels for line in body):
        return
    shown = [line for line in body if _cells(line)[column] in labels | baselines]
    notes = [
        line.strip()
        for line in lines
        if (note := _NOTE.match(line)) and any(f"[{note[1]}]" in row for row in shown)
    ]
    yield f"**[{path.parent.name}]({link}/table.md).** {lines[0]}"
    yield "\n".join([header, rule, *shown])
    if notes:
        yield "  \n".join(notes)
    manifests = "; ".join(
        f"{label}, seed "
        + ", ".join(
            f"[{run['seed']}]({link}/runs/{run['run_id']}/manifest.json)"
            for run in own
            if run["label"] == label
        )
        for label in dict.fromkeys(run["label"] for run in own)
    )
    yield f"[Rows]({link}/rows.csv). Manifests: {manifests}."


def _manifest(folder: Path, run: dict[str, Any]) -> dict[str, Any]:
    path = folder / "runs" / run["run_id"] / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return manifest


def _cells(line: str) -> list[str]:
    """The texts of a table's line, as they were before they were written in Markdown."""
    cells = re.split(r"(?<!\\)\|", line)[1:-1]
    return [html.unescape(re.sub(r"\\(.)", r"\1", cell.strip())) for cell in cells]
