"""The page, read by a parser: links that lead somewhere, nothing fetched, nothing let through."""

from __future__ import annotations

import json
import re
import shutil
import statistics
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from report.made_results import NO_GPU, Made, make

from benchmarks.records.store import read_rows
from benchmarks.records.verification import seal
from benchmarks.report.build import write_report
from benchmarks.report.page import grid

EVIL = "<script>alert(1)</script>\"'&</td>$x_1$|"
VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """Elements with their attributes and text, and whether all of them are closed."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.cells: list[list[dict[str, Any]]] = []
        self.script = ""
        self.data = ""
        self._open: list[str] = []
        self._cell: dict[str, Any] | None = None
        self._in: str | None = None
        self.text = file.read_text(encoding="utf-8")
        self.feed(self.text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {key: value or "" for key, value in attrs}
        self.elements.append((tag, told))
        if tag in VOID:
            return
        self._open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self._cell = {"text": "", "links": [], "bold": False, "title": ""}
            self.cells[-1].append(self._cell)
        if self._cell is not None:
            self._cell["bold"] |= tag == "strong"
            if tag == "a":
                self._cell["links"].append(told.get("href"))
                self._cell["title"] = told.get("title", "")
        if tag == "script":
            self._in = told.get("type", "script")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag in ("td", "th"):
            self._cell = None
        if tag == "script":
            self._in = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell["text"] += data
        if self._in == "script":
            self.script += data
        elif self._in == "application/json":
            self.data += data

    def target(self, href: str) -> Path:
        return self.file.parent / unquote(href)


def page(folder: Path, *results: Path, figures: int = 0, metrics: tuple[str, ...] = ()) -> Page:
    write_report(results, folder, ["html"], metrics, figures)
    return Page(folder / "report.html")


def value_cells(found: Page) -> list[dict[str, Any]]:
    return [cell for row in found.cells[1:] for cell in row if cell["links"]]


def test_each_cell_leads_to_the_manifest_of_its_run(tmp_path: Path) -> None:
    results = tmp_path / "with space & #" / "r"
    make(results)
    found = page(tmp_path / "out" / "deep", results)
    cells = value_cells(found)
    assert len(cells) == 3 * len(json.loads(found.data)["columns"])
    for cell in cells:
        (href,) = cell["links"]
        manifest = json.loads(found.target(href).read_text())
        assert manifest["status"] == "finished"
    for row, told in zip(found.cells[1:], json.loads(found.data)["rows"], strict=True):
        for href, seed in zip(told["runs"], told["seeds"], strict=True):
            manifest = json.loads(found.target(href).read_text())
            assert manifest["run_id"] == f"digits-resnet20-{row[0]['text']}-s{seed}"


def test_the_numbers_are_those_of_the_rows(tmp_path: Path) -> None:
    store = make(tmp_path / "r")
    found = page(tmp_path / "out", tmp_path / "r", metrics=("top1",))
    told = json.loads(found.data)
    values = [
        row.value
        for row in read_rows(store.rows_path)
        if (row.method, row.variant, row.metric, row.phase) == ("ours", "base", "top1", "test")
    ]
    mean, sd, n, ratio, by_seed = told["rows"][2]["cells"][0]
    assert told["columns"][0] == "top-1, test"
    assert mean == pytest.approx(statistics.fmean(values), rel=1e-6)
    assert sd == pytest.approx(statistics.stdev(values), rel=1e-6)
    assert (n, ratio) == (3, None)
    assert by_seed == pytest.approx(values, rel=1e-6)
    assert found.cells[3][3]["text"] == f"{mean:.2f} ± {sd:.2f}"


def test_a_missing_value_says_why_in_the_cell_and_behind_it(tmp_path: Path) -> None:
    make(tmp_path / "r", Made(fail=frozenset({("ours", 1)})))
    found = page(tmp_path / "out", tmp_path / "r", metrics=("mem_peak_allocated", "top1"))
    told = json.loads(found.data)
    cell = found.cells[1][3]
    assert (cell["text"], cell["title"]) == ("–", NO_GPU)
    mean, _, n, _, by_seed = told["rows"][0]["cells"][0]
    assert (mean, n) == (None, 0)
    assert {told["reasons"][number] for (number,) in by_seed} == {NO_GPU}
    by_seed = told["rows"][1]["cells"][1][4]
    assert told["reasons"][by_seed[1][0]].startswith("the run failed")
    assert "failed: ours, seed 1: out of memory" in found.text


def test_all_metrics_are_there_and_the_default_ones_are_shown(tmp_path: Path) -> None:
    make(tmp_path / "r")
    found = page(tmp_path / "out", tmp_path / "r")
    told = json.loads(found.data)
    boxes = [a for tag, a in found.elements if tag == "input" and a["type"] == "checkbox"]
    assert len(boxes) == len(told["columns"])
    shown = [told["columns"][int(box["value"])] for box in boxes if "checked" in box]
    assert shown[:3] == ["top-1, test", "top-1 @ best-val checkpoint", "params (deployed)"]
    assert "ECE (15 bins), val" in told["columns"]
    assert "ECE (15 bins), val" not in shown
    hidden = re.search(r'<style id="hidden">(.*?)</style>', found.text)
    assert hidden
    first = told["names"] + 2
    assert hidden[1].count("nth-child") == len(boxes) - len(shown)
    assert f"nth-child({first + len(shown)})" in hidden[1]


def test_a_large_table_has_the_shown_columns_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "MANY_CELLS", 40)
    make(tmp_path / "r")
    found = page(tmp_path / "out", tmp_path / "r")
    assert len(json.loads(found.data)["columns"]) == 8
    assert "Further metrics are in report.csv" in found.text


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    make(
        tmp_path / "r",
        Made(
            methods={"plain": {"full": 1.0}, EVIL: {EVIL: 1.0, "b": 0.5}},
            suite=EVIL,
            why=f"</script>{EVIL}",
        ),
    )
    found = page(tmp_path / "out", tmp_path / "r", figures=9)
    assert found.text.count("<script") == 2
    assert [tag for tag, _ in found.elements].count("script") == 2
    assert found.cells[2][0]["text"] == EVIL
    assert found.cells[2][1]["text"] == EVIL
    rows = [a for tag, a in found.elements if tag == "tr" and "data-row" in a]
    assert rows[1]["data-method"] == EVIL
    assert f"</script>{EVIL}" in json.loads(found.data)["reasons"]


def test_nothing_is_fetched(tmp_path: Path) -> None:
    make(tmp_path / "r", Made(gpu=True))
    found = page(tmp_path / "out", tmp_path / "r", figures=99)
    assert [tag for tag, _ in found.elements].count("svg") == 11
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", found.text)
    for tag, told in found.elements:
        for key in ("src", "href", "action", "data", "poster", "srcset"):
            href = told.get(key, "")
            assert not re.match(r"[a-z]+:", href) or href.startswith("data:,"), (tag, href)
    assert "default-src 'none'" in found.text
    ids = [told["id"] for _, told in found.elements if "id" in told]
    assert len(ids) == len(set(ids))


def test_links_within_the_page_and_to_figures_lead_somewhere(tmp_path: Path) -> None:
    make(tmp_path / "r")
    write_report([tmp_path / "r"], tmp_path / "out", most_figures=2)
    found = Page(tmp_path / "out/report.html")
    ids = {told["id"] for _, told in found.elements if "id" in told}
    links = [told["href"] for tag, told in found.elements if tag == "a" and "href" in told]
    assert sum(href.startswith("figures/") for href in links) == 4
    for href in links:
        assert href[1:] in ids if href.startswith("#") else found.target(href).is_file()


def test_rows_without_manifests_have_no_dead_links(tmp_path: Path) -> None:
    make(tmp_path / "r")
    shutil.rmtree(tmp_path / "r/runs")
    (tmp_path / "r/plan.json").unlink()
    found = page(tmp_path / "out", tmp_path / "r")
    assert {href for cell in value_cells(found) for href in cell["links"]} == {None}
    assert "6 runs have no manifest here." in found.text
    assert "unverified: rows without the records of their runs." in found.text


def test_environments_that_differ_are_told_with_their_runs(tmp_path: Path) -> None:
    make(tmp_path / "a", Made(seeds=(0, 1)))
    make(tmp_path / "b", Made(seeds=(2,), salt="-x"))
    file = tmp_path / "b/runs/digits-resnet20-ours-s2-x/manifest.json"
    manifest = json.loads(file.read_text())
    manifest["environment"]["packages"]["torch"] = "2.13.0"
    manifest["environment"]["git"] = {"commit": "fedcba9876543210", "dirty": True}
    file.write_text(json.dumps(manifest))
    seal(file.parent)
    text = page(tmp_path / "out", tmp_path / "a", tmp_path / "b").text
    assert "<dt>torch</dt><dd>2.13.0 (1 of 6 runs), 2.14.1 (5 of 6 runs)</dd>" in text
    assert "0123456789ab (5 of 6 runs), fedcba987654, with local changes (1 of 6 runs)" in text
    assert "<dt>device</dt><dd>Some CPU</dd>" in text


def test_bold_cells_are_those_of_the_tables(tmp_path: Path) -> None:
    make(tmp_path / "r")
    write_report([tmp_path / "r"], tmp_path / "out", ["md", "html"], ["top1", "macs"], 0)
    bold = [
        cell["text"]
        for row in Page(tmp_path / "out/report.html").cells[1:]
        for cell in row[3:5]
        if cell["bold"]
    ]
    text = (tmp_path / "out/report.md").read_text()
    assert bold == re.findall(r"\*\*(.*?)\*\*", text)
    assert "20.00 (0.50×)" in bold
