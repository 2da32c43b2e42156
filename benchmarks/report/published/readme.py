"""The page about published results: a section a folder, made of rows and manifests alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.analysis.load import Results, Run, read_folder
from benchmarks.records.files import write_text_atomic
from benchmarks.records.plan import check_reproduction
from benchmarks.report.published import facts
from benchmarks.report.published.copying import is_published
from benchmarks.report.tables import write_tables
from benchmarks.report.text import markdown_cell, markdown_escape, markdown_line

NOTES = "NOTES.md"
"""What a person says about published runs; shown in their section."""

_HEAD = """\
# Results

Real runs: every row, the tables, and a manifest for each run with its specification, checksums,
versions and device. `depthbench publish` writes this page from them; notes on single runs are in
their folders. Repeat a suite with `depthbench run SUITE --results DIR`, one run with
`depthbench rerun`. Equal run ids mean the same specification, code, data, versions and device; on
another instruction set such a run differs by about as much as another seed does.
Runs marked *unverified* are from before records had digests; the code that *stale* runs were made
with has changed since.
"""
_REDUCED = """\
None of these is run at a paper's budget, and none is compared with a paper's accuracy.
"""
_SOME_REDUCED = """\
Runs under a reduced budget (short, smoke) are not compared with a paper's accuracy.
"""


@dataclass(frozen=True)
class Published:
    """One folder of published results."""

    path: Path
    results: Results
    table: str
    """Its table, or its comparison with a paper's, as Markdown."""

    @property
    def name(self) -> str:
        """The folder's name, which heads the section."""
        return self.path.name

    @cached_property
    def manifests(self) -> list[dict[str, Any]]:
        """Of all its runs, each once."""
        found = {run.run_id: run.manifest for run in self.results.runs if run.manifest}
        return [dict(manifest) for manifest in found.values()]

    @property
    def title(self) -> str:
        """What it is about; empty where the plan does not say."""
        plan = self.results.plan
        return plan.title if plan and plan.title != plan.suite else ""

    @cached_property
    def profiles(self) -> list[str]:
        """``paper``, ``short`` or ``smoke``; several where a folder has no one plan."""
        of_runs = [manifest.get("spec", {}).get("profile") for manifest in self.manifests]
        return list(dict.fromkeys(filter(None, [self.results.profile, *of_runs])))

    @property
    def budget(self) -> str:
        """``smoke: 4 epochs``, ``paper``."""
        profiles = ", ".join(self.profiles) or "not recorded"
        return f"{profiles}: {self.results.budget}" if self.results.budget else profiles


def write_readme(folder: Path) -> list[Path]:
    """Write ``README.md`` of ``folder``, and the tables of everything in ``folder/published``.

    The same rows and manifests give the same bytes.

    Args:
        folder: ``results`` of a checkout.

    Returns:
        The sections' folders, in order.

    Raises:
        UserError: published results are damaged.
    """
    paths = sorted(filter(is_published, folder.glob("published/[!.]*")))
    found = [_published(path) for path in paths]
    others = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    write_text_atomic(folder / "README.md", text_of(found, others, (folder / "main.csv").exists()))
    return [each.path for each in found]


def text_of(found: Sequence[Published], others: Sequence[Path], reference: bool) -> str:
    """The page.

    Args:
        found: one section each.
        others: further pages beside it.
        reference: whether there is a ``main.csv`` for ``depthbench compare --against``.
    """
    parts = [_HEAD]
    if found:
        parts.append("\n".join(_overview(found)) + "\n")
        full = any("paper" in each.profiles for each in found)
        parts.append(_SOME_REDUCED if full else _REDUCED)
    for other in others:
        heading = other.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        parts.append(f"[{markdown_escape(heading)}]({quote(other.name)}).\n")
    if reference:
        parts.append("`main.csv` is what `depthbench compare --against` tests a change against.\n")
    parts += ["\n".join(_section(each)) for each in found]
    return "\n".join(parts)


def inert(text: str) -> str:
    """Markdown of somebody's without HTML, and with links to the web and beside it alone."""
    text = _TAG.sub("&lt;", text)
    for links in (_LINK, _REFERENCE):
        text = links.sub(lambda link: link[0] if _SAFE.fullmatch(link[2]) else f"\\{link[0]}", text)
    return text


_TAG = re.compile(r"<(?=[a-zA-Z/!?])")
_LINK = re.compile(r"(\]\(\s*)([^)\s]*)")
_REFERENCE = re.compile(r"(?m)^[ >]*(\[[^\]]+\]:\s*)(\S*)")
_SAFE = re.compile(r"https?://[^&<]*|[\w./#%-]*")


def _published(path: Path) -> Published:
    results = read_folder(path)
    check_reproduction(path, results.plan)
    reproduction = path / "reproduction.md"
    if reproduction.exists():
        return Published(path, results, inert(reproduction.read_text(encoding="utf-8")))
    return Published(path, results, write_tables(path)["md"])


def _overview(found: Sequence[Published]) -> Iterator[str]:
    yield "| suite | question | budget | runs | hardware | date |"
    yield "|---|---|---|---|---|---|"
    for each in found:
        anchor = re.sub(r"[^\w-]", "", each.name.lower())
        devices = ", ".join(each.results.devices)
        cells = [each.title, each.budget, str(_runs(each)), devices, facts.day(each.manifests)]
        shown = " | ".join(markdown_cell(cell) for cell in cells)
        yield f"| [{markdown_escape(each.name)}](#{anchor}) | {shown} |"


def _section(each: Published) -> Iterator[str]:
    yield f"## {markdown_escape(each.name)}"
    if each.title:
        yield f"{markdown_line(each.title)}.\n"
    yield each.table
    reduced = "" if each.profiles == ["paper"] else ", a reduced budget"
    seeds = sorted({run.seed for run in each.results.runs})
    failed = len({run.run_id for run in each.results.runs if run.failed})
    runs = f"{_runs(each)}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    marks = map(markdown_escape, each.results.marks)
    entries = {
        "Budget": markdown_escape(each.budget + reduced),
        "Runs": runs + (f"; {failed} failed" if failed else ""),
        "Where": markdown_escape(facts.where(each.manifests)),
        "When": markdown_escape(facts.when(each.manifests)),
        "With": markdown_escape(facts.software(each.manifests)),
        "Commit": markdown_escape(facts.commits(each.manifests)),
        "Note": "; ".join(mark for mark in marks if mark not in each.table),
        "Files": ", ".join(_files(each)),
        "Manifests": "; ".join(_manifests(each)),
    }
    for name, fact in entries.items():
        if fact:
            yield f"- {name}: {fact}."
    yield ""
    notes = each.path / NOTES
    if notes.exists():
        yield notes.read_text(encoding="utf-8").strip() + "\n"


def _runs(each: Published) -> int:
    return len({run.run_id for run in each.results.runs})


def _files(each: Published) -> Iterator[str]:
    names = {
        "rows.csv": "rows",
        "table.csv": "table as CSV",
        "table.tex": "table as LaTeX",
        "reproduction.csv": "every claim as CSV",
        "plan.json": "plan",
    }
    for name, words in names.items():
        if (each.path / name).exists():
            yield f"[{words}]({quote(f'published/{each.name}/{name}')})"


def _manifests(each: Published) -> Iterator[str]:
    """Links by method and setting, a seed each."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    settings = {run.setting for run in each.results.runs}
    for run in each.results.runs:
        if run.manifest:
            setting = run.setting[1:] if len(settings) > 1 else ()
            groups.setdefault((*setting, run.method), []).append(run)
    for names, runs in groups.items():
        links = ", ".join(
            f"[{run.seed}]({quote(f'published/{each.name}/runs/{run.run_id}/manifest.json')})"
            for run in sorted(runs, key=lambda run: run.seed)
        )
        yield f"{markdown_escape(' '.join(names))} {links}"
