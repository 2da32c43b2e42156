"""What the site has beside ``docs/``: the published results, and what they say of each method.

A card under ``docs/methods/`` that the navigation or the table of methods lacks is added to both,
so that a new method needs no page but its card.

A hook of MkDocs, named in ``mkdocs.yml``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measured import PUBLISHED, ROOT, measured
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from options import cards

SUFFIXES = (".md", ".csv", ".json", ".tex", ".html", ".png", ".pdf")
_MEASURED = re.compile(r"<!-- measured: (\w+) -->")
_OUT_OF_DOCS = re.compile(r"(\]\((?:\.\./)*)\.\./(results/)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add method cards to the navigation."""
    add_to_nav(config.nav or [], cards())
    return config


def add_to_nav(nav: list[Any], found: Mapping[str, Path]) -> None:
    """List cards under ``Methods`` that are not listed there, in place."""
    for entry in nav:
        listed = entry.get("Methods") if isinstance(entry, dict) else None
        if listed is not None:
            known = {name for each in listed for name in each}
            listed += [{name: f"methods/{name}.md"} for name in found if name not in known]


def add_rows(markdown: str, found: Mapping[str, Path]) -> str:
    """Add cards that the first table of a page lacks, with the sentence that they begin with."""
    missing = [name for name in found if f"]({name}.md)" not in markdown]
    rows = [f"| [{name}]({name}.md) | {_sentence(found[name])} | | |" for name in missing]
    lines = markdown.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    end = next(i for i in range(first, len(lines)) if not lines[i].startswith("|"))
    return "\n".join([*lines[:end], *rows, *lines[end:]]) + "\n"


def _sentence(card: Path) -> str:
    _, _, text = card.read_text(encoding="utf-8").partition("\n")
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".").replace("|", "\\|")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is under ``results/``: its pages as pages, rows and manifests as they are."""
    shown = [*sorted((ROOT / "results").glob("*.md")), *sorted(PUBLISHED.rglob("*"))]
    for path in shown:
        if path.is_file() and path.suffix in SUFFIXES and not path.name.startswith("."):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what was measured; links that leave ``docs/`` for results stay within the site."""
    if page.file.src_uri.startswith("results/"):
        return markdown
    if page.file.src_uri == "methods/index.md":
        markdown = add_rows(markdown, cards())
    markdown = _OUT_OF_DOCS.sub(r"\1\2", markdown)
    top = "../" * page.file.src_uri.count("/")
    return _MEASURED.sub(lambda found: measured(found[1], top), markdown)
