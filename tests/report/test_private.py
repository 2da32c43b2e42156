"""What is published shows text as text, and nothing private."""

from __future__ import annotations

import csv
import getpass
import json
import platform
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import markdown
import pytest
from markdown_it import MarkdownIt
from report.made_results import Made, edit_json, make

from benchmarks.analysis.load import read_folder
from benchmarks.records.cells import read, written
from benchmarks.records.identity.origin import id_holds
from benchmarks.records.plan import vouch_for
from benchmarks.records.rows import format_rows, parse_rows
from benchmarks.records.store import Store
from benchmarks.records.verification import read_record, seal
from benchmarks.report.published.copying import copy_results
from benchmarks.report.published.private import Redactor
from benchmarks.report.published.readme import inert, write_readme

SECRETS = {
    "address": "https://ada:s3cr3t-word@git.example.org/repo.git",
    "option": "api_key=abcdef0123456789",
    "quoted": '{"hf_token": "tok-0123456789"}',
    "shape": "used ghp_0123456789abcdefghijABCDEFGHIJ there",
    "environment": "the value top-secret-value of it",
    "home": "/home/ada/data and /Users/ada/data",
}
HIDDEN = ["s3cr3t-word", "abcdef0123456789", "tok-0123456789", "ghp_012", "top-secret", "ada/data"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "top-secret-value")
    monkeypatch.setattr(Path, "home", lambda: Path("/srv/people/lovelace"))
    monkeypatch.setattr(getpass, "getuser", lambda: "lovelace")
    monkeypatch.setattr(platform, "node", lambda: "engine07.example.org")


def plant(store: Store) -> None:
    """Private texts wherever a run's records hold text."""
    folder = store.path
    told = [*SECRETS.values(), "/srv/people/lovelace/coco", "lovelace on engine07"]
    for run in sorted(folder.glob("runs/*")):
        edit_json(
            run / "manifest.json",
            lambda m: m["spec"].update(
                task_options={
                    "data_root": "/srv/people/lovelace/data",
                    "hf_token": "tok-0123456789",
                },
                notes=told,
            ),
        )
        rows = (run / "rows.csv").read_text().splitlines()
        reason = "; ".join(told).replace('"', '""')
        rows[1] = rows[1].rsplit(",", 1)[0] + f',"{reason}"'
        (run / "rows.csv").write_text("\n".join(rows) + "\n")
        seal(run)
    plan = store.plan()
    assert plan is not None
    store.write_collected(plan.runs)
    text = "; ".join(told)
    (folder / "reproduction.md").write_text(f"{text}\n")
    vouch_for(folder, [folder / "reproduction.md"])


@pytest.mark.usefixtures("machine")
def test_nothing_private_is_published(tmp_path: Path) -> None:
    store = make(tmp_path / "source", Made(seeds=(0,)))
    plant(store)
    source = store.path
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    target = copy_results(source, tmp_path / "published")
    write_readme(tmp_path)
    for path in [*target.rglob("*"), tmp_path / "README.md"]:
        content = path.read_bytes().decode("utf-8") if path.is_file() else ""
        for private in (*HIDDEN, "lovelace", "engine07"):
            assert private not in content, (path, private)
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    for run in target.glob("runs/*"):
        record = read_record(run)
        assert record is not None
        assert record.verified
        assert record.manifest["redacted"] is True
        assert id_holds(record.manifest) is None
        assert record.manifest["spec"]["task_options"]["data_root"] == "~/data"
    assert read_folder(target).runs


def test_what_is_not_private_stays() -> None:
    redactor = Redactor({"TOKEN": "x"}, "/home/ada", ["root", "ada"])
    for text in (
        "the tokens of a transformer, token: 512, max_tokens=77, token=null",
        '{"commit": "0123456789abcdef0123456789abcdef01234567", "sha256": "' + "0" * 64 + '"}',
        "see https://example.org/a@b and mail me",
        "root mean square, adaptive_depth, keys=[3 6], /home/",
        "/homework/data",
    ):
        assert redactor.text(text) == text


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+cmd", "-cmd|' /C calc'!A0", "@SUM(A1)", "\tx", "\rx", "'=x", "''+x", "=", "-"],
)
def test_formulas_are_text_in_a_spreadsheet_and_read_back(text: str) -> None:
    assert written(text).startswith("'")
    assert read(written(text)) == text


@pytest.mark.parametrize(
    "text",
    ["{}=pass-word1", '"{}": "pass-word1"', "{}: 'pass-word1'", r'{{\"{}\": \"pass-word1 x\"}}',
     '"{{""{}"": ""pass-word1 x""}}"', "--{} pass-word1".replace(" ", "="), "MY_{}=pass-word1"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["token", "api_key", "apikey", "PASSWORD", "hf-token", "secret"])
def test_a_secret_is_found_however_it_is_quoted(text: str, name: str) -> None:
    found = Redactor({}, "", []).text(text.format(name))
    assert "pass" not in found.lower().replace("password", "")
    assert "<redacted>" in found


@pytest.mark.parametrize("text", ["-1.5", "+3e4", "-inf", "nan", "plain", "", "'quoted'", "a=b"])
def test_numbers_and_other_texts_stay(text: str) -> None:
    assert written(text) == text
    assert read(text) == text


def test_no_cell_that_is_written_begins_like_a_formula(tmp_path: Path) -> None:
    evil = "=HYPERLINK(1)"
    methods = {evil: {"@net": 1.0}, "plain": {"full": 1.0}}
    store = make(tmp_path / "mine", Made(methods=methods, seeds=(0, 1), why="+why"))
    write_readme_of(tmp_path, store.path)
    rows = [row for run in read_folder(store.path).runs for row in run.rows]
    assert {row.method for row in rows} == {evil, "plain"}
    assert parse_rows(format_rows(rows).encode(), "rows.csv") == rows
    files = list(tmp_path.rglob("*.csv"))
    assert len(files) > 3
    for path in files:
        for line in csv.reader(path.read_text(encoding="utf-8").splitlines()):
            for cell in line:
                assert cell[:1] not in ("=", "@", "+") or cell == "", (path, cell)


def write_readme_of(folder: Path, source: Path) -> None:
    copy_results(source, folder / "published")
    write_readme(folder)


class Live(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in ("script", "img", "iframe", "svg", "object", "b"):
            self.found.append(tag)
        for name, value in attrs:
            bad = re.match(r"\s*(javascript|data|vbscript)", (value or "").replace("\t", ""), re.I)
            if name.startswith("on") or bad:
                self.found.append(f"{tag} {name}={value}")


def of_the_site(text: str) -> str:
    return markdown.markdown(text, extensions=["tables", "attr_list", "md_in_html", "toc"])


def of_github(text: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))",
    "[a]( JaVaScRiPt:alert(1))",
    "[a](&#106;avascript:alert(1))",
    "[a](\njavascript:alert(1))",
    "[a][b]\n\n[b]: javascript:alert(1)",
    "![a](data:text/html;base64,PHNjcmlwdD4=)",
    "[a](vbscript:x)",
    "<javascript:alert(1)>",
    "| <b>x</b> | y",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_text_from_results_is_not_live_on_the_site(tmp_path: Path, attack: str) -> None:
    store = make(tmp_path / "mine", Made(seeds=(0,), device=attack, why=attack))
    plan = store.plan()
    assert plan is not None
    store.write_plan(type(plan)(**{**vars(plan), "title": attack}))
    change = {
        "created": attack,
        "finished": attack,
        "device": {"name": attack, "type": "cuda", "nvml": {"driver": attack}},
        "environment": {"depthbench": attack, "git": {"commit": attack, "dirty": False}},
        "fingerprint": {"versions": {"python": attack, "torch": attack}},
    }
    for run in store.path.glob("runs/*"):
        edit_json(run / "manifest.json", lambda manifest: manifest.update(change))
        seal(run)
    write_readme_of(tmp_path, store.path)
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    for text in (page, inert(f"before {attack} after\n\n{attack}\n")):
        for html in (of_the_site(text), of_github(text)):
            live = Live()
            live.feed(html)
            assert live.found == []


def test_links_of_a_comparison_stay() -> None:
    text = "[a](https://example.org/x?y=1) [b](published/x/rows.csv) a < b\n\n[c]: docs/x.md\n"
    assert inert(text) == text
    assert json.dumps(inert("| 3 | x |")) == '"| 3 | x |"'
