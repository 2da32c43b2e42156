"""Names, labels and titles that are full of signs show as written."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from benchmarks.report.text import Shown, Table, latex_escape

SIGNS = [
    "a|b", "`code`", "_lean_", "end_to_end", "__init__", "*bold*", "**x**", "a<b>c", "<br>", "# no",
    "[x](http://y)", "[1]", "![x](y)", "a\\|b", "a\\b", "back\\", "two\nlines", "&lt;", "R&D",
    "~~out~~", "$x$", "- item", "+ item", "1. first", "2) second", "> quote", "---", "===",
    "[ ] todo", "\t tab",     "blocks=[3 6]", "a_b_", "[*]", "*", "[", "\\[x\\]",
]  # fmt: skip


def shown(markdown: str) -> tuple[list[str], list[str]]:
    """The texts of a table's cells and of everything else, as a browser shows them."""
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown)
    assert not re.search(r"<(h\d|code|em|strong|a|img|s|hr|br|ol|blockquote|pre)\b(?! />)", page)
    texts = [
        html.unescape(re.sub(r"<[^>]*>", "", part)).strip()
        for part in re.findall(r"<(?:td|th)[^>]*>(.*?)</(?:td|th)>", page, re.DOTALL)
    ]
    rest = re.sub(r"<table>.*</table>", "", page, flags=re.DOTALL)
    lines = [html.unescape(line).strip() for line in re.sub(r"<[^>]*>", "\n", rest).split("\n")]
    return texts, [line for line in lines if line]


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("text", SIGNS)
def test_markdown_shows_every_sign_of_cells_headings_titles_notes_and_remarks(text: str) -> None:
    made = Table(text, ["method", text], [[Shown(text), Shown("1")]], [text], [text])
    cells, rest = shown(made.markdown())
    assert cells == ["method", one_line(text), one_line(text), "1"]
    assert rest == [one_line(text), f"[1] {one_line(text)}", one_line(text)]


@given(st.text("ab1_*`[](){}<>#+-.!|\\~$& =", min_size=1, max_size=12).filter(str.strip))
def test_markdown_shows_any_label(text: str) -> None:
    cells, rest = shown(Table(text, ["m"], [[Shown(text)]]).markdown())
    assert cells == ["m", one_line(text)]
    assert rest == [one_line(text)]


@pytest.mark.parametrize("text", ["[3 6]", "*", "*bold*", "[", "  [x]", "\n*"])
def test_latex_takes_no_cell_or_heading_line_for_an_option_of_a_line_end(text: str) -> None:
    made = Table("t", ["m", f"a word and {text}"], [[Shown(text)], [Shown(text)]], names=1)
    assert not re.search(r"\\\\\s*[\[*]|rule\s*[\[*]", made.latex())
    assert latex_escape(text).strip() != text.strip()
