"""The documentation's site: every page shows what it includes, and its links and tables work."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
READ_AS_THEY_ARE = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "results").rglob("*.md"))]
INCLUDE = re.compile(r'^\s*-+8<-+[ \t]+"([^"\n]+)"$', re.MULTILINE)
MARKER = re.compile(r"^[ \t]*;*[ \t]*-+\s*8\s*<\s*-.*$", re.MULTILINE)
MARKDOWN = re.compile(
    r"^\s*[-*] .*|^\s*\d+\. .*|^\s*\|.*|^.*(?:\]\(|\]\[|```|\*\*|<!--).*", re.MULTILINE
)


class Page(HTMLParser):
    """What a built page holds.

    Attributes:
        links: what `href` and `src` name.
        anchors: ids that a link may name.
        text: its whole text.
        prose: its text outside of code.
        tables: of each table the number of cells of each row.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.text = self.prose = ""
        self.tables: list[list[int]] = []
        self._code = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.links += [value for key in ("href", "src") if (value := values.get(key))]
        self.anchors |= {value for key in ("id", "name") if (value := values.get(key))}
        self._code += tag in ("pre", "code", "script", "style")
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append(0)
        elif tag in ("td", "th"):
            self.tables[-1][-1] += 1

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag in ("pre", "code", "script", "style")

    def handle_data(self, data: str) -> None:
        self.text += data
        self.prose += "" if self._code else data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built with warnings as errors."""
    for module in ("mkdocs", "pymdownx", "pygments"):
        pytest.importorskip(module, reason="the site needs: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def built(site: Path, page: Path) -> Path:
    """The file that MkDocs makes of a page."""
    place = page.relative_to(DOCS).with_suffix("")
    return site / (place.parent if place.name == "index" else place) / "index.html"


def words(text: str) -> str:
    return " ".join(text.split())


def shown(file: Path) -> Iterator[str]:
    """The texts that a page with this file must show: code as it is, Markdown cell by cell."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".md":
        yield words(text)
        return
    for line in text.splitlines():
        if not set(line) <= set("|:- "):
            yield from (words(part) for part in re.split(r"(?<!\\)\|", line) if part.strip())


def test_every_include_marker_is_one_that_the_site_reads() -> None:
    found = 0
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        included = INCLUDE.findall(text)
        assert len(MARKER.findall(text)) == len(included), f"{path.name}: {MARKER.findall(text)}"
        assert [name for name in included if not (ROOT / name).is_file()] == [], path.name
        found += len(included)
    assert found >= 4


@pytest.mark.parametrize("path", READ_AS_THEY_ARE, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_that_are_read_as_they_are_include_nothing(path: Path) -> None:
    assert MARKER.findall(path.read_text(encoding="utf-8")) == []


def test_the_formatter_leaves_pages_as_they_are(tmp_path: Path) -> None:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if ruff is None:
        pytest.skip("ruff is not installed")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "docs").mkdir()
    code = tmp_path / "docs" / "code.py"
    page = tmp_path / "docs" / "page.md"
    code.write_text("x = {  'a':1 }\n")
    page.write_text(text := '```python\n--8<-- "docs/examples/half_depth.py"\n```\n')
    for named in (".", "docs", "docs/page.md", str(page)):
        subprocess.run([ruff, "format", named], cwd=tmp_path, capture_output=True, check=False)
        assert page.read_text() == text, f"ruff format {named}"
    assert code.read_text() == 'x = {"a": 1}\n'


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_a_page_shows_every_file_that_it_includes(
    page: Path, site: Path, pages: dict[Path, Page]
) -> None:
    text = words(pages[built(site, page)].text)
    for name in INCLUDE.findall(page.read_text(encoding="utf-8")):
        missing = [part for part in shown(ROOT / name) if part not in text]
        assert missing == [], name


def test_every_example_is_shown_on_a_page(pages: dict[Path, Page]) -> None:
    texts = [words(page.text) for page in pages.values()]
    for file in sorted((DOCS / "examples").iterdir()):
        if file.is_file():
            code = words(file.read_text(encoding="utf-8"))
            assert any(code in text for text in texts), file.name


def test_no_page_shows_markers_or_markdown(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert MARKER.findall(page.text) == [], path
        assert MARKDOWN.findall(page.prose) == [], path


def test_rows_of_a_table_have_the_same_number_of_cells(pages: dict[Path, Page]) -> None:
    uneven = {
        (path, *rows) for path, page in pages.items() for rows in page.tables if len(set(rows)) != 1
    }
    assert uneven == set()
    assert any(page.tables for page in pages.values())


def test_every_link_leads_to_a_file_and_an_anchor(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            start = site if url.path.startswith("/") else path.parent
            target = (start / unquote(url.path).lstrip("/")).resolve() if url.path else path
            target = target / "index.html" if target.is_dir() else target
            anchors = pages[target].anchors if target in pages else {unquote(url.fragment)}
            if not target.is_file() or (url.fragment and unquote(url.fragment) not in anchors):
                broken.append((path.relative_to(site).as_posix(), link))
    assert broken == []


def test_a_new_card_is_in_the_navigation_and_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mkdocs", reason="the site needs: pip install -e '.[docs]'")
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    site = runpy.run_path(str(ROOT / "tools" / "site.py"))
    card = tmp_path / "thinner.md"
    card.write_text("# thinner\n\nEvery layer has half the channels. Really.\n")
    nav = [{"Home": "index.md"}, {"Methods": [{"All methods": "methods/index.md"}]}]
    site["add_to_nav"](nav, {"thinner": card})
    assert nav[1]["Methods"][1:] == [{"thinner": "methods/thinner.md"}]
    table = "# All\n\n| method | what |\n|---|---|\n| [mind](mind.md) | x |\n\nEnd.\n"
    found = site["add_rows"](table, {"mind": card, "thinner": card})
    row = "| [thinner](thinner.md) | Every layer has half the channels | | |"
    assert found == table.replace("| x |\n", f"| x |\n{row}\n")
