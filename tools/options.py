"""The option tables of the method cards, made of the methods' fields and their docstrings.

``python tools/options.py`` writes them into ``docs/methods/*.md``, between the two comments
that each card has for it. Source is read, not imported: no torch is needed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CARDS = ROOT / "docs" / "methods"
BEGIN, END = "<!-- options -->", "<!-- /options -->"
_NONE = "This method has no options."


class Option(NamedTuple):
    """One field of a method."""

    name: str
    default: str
    text: str


def cards() -> dict[str, Path]:
    """The card of every method by the method's name."""
    return {path.stem: path for path in sorted(CARDS.glob("*.md")) if path.stem != "index"}


def options() -> dict[str, list[Option]]:
    """The options of every method of this repository by its name, in the order of the source."""
    return dict(sorted(_methods()))


def table(of: list[Option]) -> str:
    """A Markdown table, or a sentence where there is nothing to choose."""
    if not of:
        return _NONE
    lines = [f"| `{o.name}` | {o.default} | {o.text.replace('|', chr(92) + '|')} |" for o in of]
    return "\n".join(["| option | default | what |", "|---|---|---|", *lines])


def with_table(card: str, of: list[Option]) -> str:
    """The text of a card, with the table as it should be."""
    before, _, rest = card.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"a card has the lines {BEGIN} and {END} around its options")
    return f"{before}{BEGIN}\n{table(of)}\n{END}{after}"


def _methods() -> Iterator[tuple[str, list[Option]]]:
    for file in sorted((ROOT / "methods").rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.ClassDef):
                continue
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "METHODS.register":
                    for name in call.args:
                        yield ast.literal_eval(name), list(_fields(node))


def _fields(node: ast.ClassDef) -> Iterator[Option]:
    for field, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign) or "ClassVar" in ast.unparse(field.annotation):
            continue
        name = ast.unparse(field.target)
        text = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            text = str(after.value.value)
        if not text:
            raise ValueError(f"the option {name} of {node.name} has no docstring")
        default = "`required`" if field.value is None else _yaml(ast.literal_eval(field.value))
        yield Option(name, default, _plain(text))


def _plain(text: str) -> str:
    """One line of Markdown, which begins with a capital and writes values as a suite does."""
    text = " ".join(text.split()).replace("``", "`")
    for python, suite in (("None", "null"), ("True", "true"), ("False", "false")):
        text = re.sub(rf"(?<!`)\b{python}\b(?!`)", f"`{suite}`", text)
    return text[:1].upper() + text[1:]


def _yaml(value: object) -> str:
    """A default as a suite file would write it."""
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def main() -> None:
    """Bring every card up to date and name those that were not."""
    of = options()
    for name, path in cards().items():
        text = path.read_text(encoding="utf-8")
        made = with_table(text, of[name])
        if made != text:
            path.write_text(made, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
