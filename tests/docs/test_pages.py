"""What the pages say is what the code has: options, metrics, keys, words, and what was measured."""

from __future__ import annotations

import importlib.util
import json
import re
import runpy
import shutil
from dataclasses import MISSING, fields
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from benchmarks.analysis.compare import gate, verdicts
from benchmarks.analysis.statistics import equivalence
from benchmarks.papers import cautions
from benchmarks.records import row as records
from benchmarks.suite import Suite
from methods import METHODS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
OWN = sorted(e.name for e in METHODS.entries() if e.module.startswith("methods."))


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


options = tool("options")
measured = tool("measured").measured


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def in_nav() -> set[str]:
    # MkDocs' own tags are no part of YAML.
    text = re.sub(r"!\w+ ", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return set(re.findall(r"[\w/-]+\.md", str(yaml.safe_load(text)["nav"])))


def test_every_method_has_a_card_and_every_card_a_method() -> None:
    assert sorted(options.cards()) == OWN
    for name in OWN:
        card = page(f"methods/{name}.md")
        assert card.startswith(f"# {name}\n")
        for part in ("**Variant", "**Cost**", "**Where it helps**", f"<!-- measured: {name} -->"):
            assert part in card, f"{name}: {part}"


@pytest.mark.parametrize("name", OWN)
def test_a_card_lists_the_options_that_the_method_has(name: str) -> None:
    card = page(f"methods/{name}.md")
    assert options.with_table(card, options.options()[name]) == card, "run: python tools/options.py"
    method = METHODS.get(name)
    shown = re.findall(r"^\| `(\w+)` \| (`[^`]*`) \|", card, re.MULTILINE)
    assert [option for option, _ in shown] == [field.name for field in fields(method)]
    for (_, default), field in zip(shown, fields(method), strict=True):
        if field.default is MISSING:
            assert default == "`required`"
            continue
        told = yaml.safe_load(default.strip("`"))
        expected = list(field.default) if isinstance(field.default, tuple) else field.default
        assert told == expected


def test_options_without_a_docstring_are_refused(tmp_path: Path) -> None:
    source = '@METHODS.register("m")\nclass M:\n    """M."""\n\n    depth: int | None = None\n'
    (tmp_path / "methods").mkdir()
    file = tmp_path / "methods" / "m.py"
    file.write_text(source + '    """Blocks; None takes ``all``."""\n')
    own = tool("options")
    own.ROOT = tmp_path
    assert own.options() == {"m": [own.Option("depth", "`null`", "Blocks; `null` takes `all`.")]}
    file.write_text(source)
    with pytest.raises(ValueError, match="depth of M has no docstring"):
        own.options()


def test_every_page_is_in_the_navigation() -> None:
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    # The site adds method cards by itself.
    assert {name for name in pages - in_nav() if not name.startswith("methods/")} == set()


def test_every_metric_is_explained_with_its_unit() -> None:
    shown = {
        "count": ("count",),
        "B": ("bytes",),
        "MAC/image": ("MACs per image",),
        "FLOP/image": ("FLOPs per image",),
        "J/image": ("J per image",),
        "": ("–",),
    }
    lines = [line for line in page("measurement.md").splitlines() if line.startswith("| `")]
    # Those of the file: other tests of this process may have declared further ones.
    for name, metric in runpy.run_path(str(records.__file__))["METRICS"].items():
        unit = (*shown.get(metric.unit, (metric.unit,)), "the budget unit")
        found = [line.split(" | ") for line in lines if f"`{name}`" in line.split(" | ")[0]]
        assert found, f"{name} is not in measurement.md"
        assert any(word in found[0][1] for word in unit), f"{name}: {found[0][1]}"


def test_every_key_of_a_suite_is_explained() -> None:
    keys = page("suites.md").partition("## Keys")[2].partition("## Budgets")[0]
    listed = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", keys, re.MULTILINE)))
    known = {each.name for each in fields(Suite) if each.compare} - {"method_file"} | {"task"}
    assert set(listed) == known


def test_every_word_of_a_verdict_is_explained() -> None:
    words = {
        *(equivalence.REPRODUCED, equivalence.CONTRADICTED, equivalence.UNDERPOWERED),
        *(cautions.INCONSISTENT, cautions.NOT_COMPARABLE, cautions.NOT_RUN),
        *(verdicts.BETTER, verdicts.WORSE, verdicts.HIGHER, verdicts.LOWER, verdicts.EQUAL),
        *(verdicts.EQUIVALENT, verdicts.NOT_SHOWN, verdicts.NO_INTERVAL, verdicts.NO_PAIR),
        *(gate.WORSE, gate.NO_WORSE, gate.FAILED, gate.VANISHED, gate.NEW),
        *(gate.NOT_COMPARABLE, gate.NOT_JUDGED),
    }
    tables = "".join(re.findall(r"^\| (.*?) \|", page("verdicts.md"), re.MULTILINE))
    assert {word for word in words if f"`{word}`" not in tables} == set()


def test_what_is_shown_of_a_method_stands_in_the_published_tables() -> None:
    text = measured("replacement", "../")
    published = ROOT / "results" / "published"
    tables = "".join(path.read_text(encoding="utf-8") for path in published.glob("*/table.md"))
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert sum(line.startswith("| replacement") for line in lines) >= 2
    assert any(line.startswith("| end_to_end ") for line in lines)
    assert not any(line.startswith("| depth_matched ") for line in lines)
    assert [line for line in lines if line not in tables] == []
    links = re.findall(r"\]\(\.\./(results/[^)]*)\)", text)
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []
    assert "[1] no RAPL domain" in text
    assert measured("no_such_method").startswith("No published results")


def test_a_label_of_its_own_does_not_hide_a_method(tmp_path: Path) -> None:
    folder = tmp_path / "quickstart"
    shutil.copytree(ROOT / "results" / "published" / "quickstart", folder)
    for name in ("plan.json", "table.md"):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace("replacement(operator=full)", "ours <2> | full"))
    table = (folder / "table.md").read_text(encoding="utf-8")
    (folder / "table.md").write_text(table.replace("<2> |", r"&lt;2&gt; \|"))
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    assert {run["label"] for run in plan["runs"]} >= {"ours <2> | full"}
    text = measured("replacement", published=tmp_path)
    assert r"| ours &lt;2&gt; \| full" in text


def test_the_method_of_the_readme_is_the_one_that_is_tested() -> None:
    code = page("examples/half_depth.py")
    assert f"```python\n{code}```\n" in (ROOT / "README.md").read_text(encoding="utf-8")
