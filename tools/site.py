"""What the site has beside ``docs/``: the published results, and what they say of each method.

A hook of MkDocs, named in ``mkdocs.yml``.
"""

from __future__ import annotations

import re

from measured import PUBLISHED, ROOT, measured
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

SUFFIXES = (".md", ".csv", ".json", ".tex", ".html", ".png", ".pdf")
_MEASURED = re.compile(r"<!-- measured: (\w+) -->")
_OUT_OF_DOCS = re.compile(r"(\]\((?:\.\./)*)\.\./(results/)")


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
    markdown = _OUT_OF_DOCS.sub(r"\1\2", markdown)
    top = "../" * page.file.src_uri.count("/")
    return _MEASURED.sub(lambda found: measured(found[1], top), markdown)
