"""YAML text as a tree of nodes: what YAML readers disagree about is refused, not guessed.

YAML 1.1, which PyYAML reads, and YAML 1.2 give ``010``, ``0o10`` and ``1:30`` different values, and
PyYAML reads ``1.5e3`` as text. Here a plain scalar is null, a truth value, text, or a decimal,
hexadecimal or binary number; a scalar whose meaning depends on the reader is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, ClassVar

import yaml

from tasks.errors import UserError

MAX_DEPTH = 60
"""Levels of nesting; a suite file has about six."""
MAX_NODES = 100_000
"""Values of a file with every alias written out."""

_BITS = 63
_TAG = "tag:yaml.org,2002:"
NULL, BOOL, INT, FLOAT, TEXT = (_TAG + kind for kind in ("null", "bool", "int", "float", "str"))
_MERGE, _AMBIGUOUS, _DATE = _TAG + "merge", _TAG + "ambiguous", _TAG + "timestamp"

_DIGITS = r"\d+(?:_\d+)*"
_PLAIN = {
    NULL: r"~|null|Null|NULL|",
    BOOL: "|".join(
        form
        for word in ("true", "false", "yes", "no", "on", "off")
        for form in (word, word.capitalize(), word.upper())
    ),
    _AMBIGUOUS: r"[-+]?(0[\d_]+|0[oO][0-7_]+|\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?|\d[\d_]*_)",
    INT: r"[-+]?(?:0|[1-9]\d*(?:_\d+)*|0x[\da-fA-F]+|0b[01]+)",
    FLOAT: rf"[-+]?(?:(?:\.{_DIGITS}|{_DIGITS}\.(?:{_DIGITS})?)(?:[eE][-+]?\d+)?"
    rf"|{_DIGITS}[eE][-+]?\d+|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)",
    _DATE: r"\d{4}-\d\d?-\d\d?([Tt \t].*)?",
    _MERGE: "<<",
}
"""Tag of a plain scalar by its text; the first that matches is taken."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(
                None, None, f"nested deeper than {MAX_DEPTH} levels", mark
            )
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, _pattern in _PLAIN.items():
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), None)


Fail = Callable[[int, str], UserError]
"""Makes an error of a line, counted from 1, and a sentence."""


def compose(text: str, fail: Fail) -> yaml.Node:
    """The one document of a text, with merge keys (``<<``) and aliases resolved.

    Raises:
        UserError: the text is not one YAML document, has a key twice in a mapping, contains itself,
            or is nested too deep or too large.
    """
    try:
        root = _Loader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise fail(line, f"the character U+{int(error.character):04X} is not allowed") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise fail(mark.line + 1 if mark else 1, _problem(error, text, mark)) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise fail(1, f"this is not YAML: {' '.join(str(error).split())}") from error
    if root is None:
        raise fail(1, "the file is empty")
    _Check(fail).visit(root, "", ())
    return root


def _problem(error: yaml.MarkedYAMLError, text: str, mark: Any) -> str:
    problem = str(error.problem or error.context)
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if problem == "but found another document":
        return "a second document begins here: keep one document in a file"
    if problem.startswith("nested"):
        return problem
    if "\t" in line[: len(line) - len(line.lstrip())] or "'\\t'" in problem:
        return "YAML allows no tabs here: use spaces"
    return f"this is not YAML: {' '.join(problem.split())}"


class _Check:
    """Walks a tree once, resolves merge keys, and counts what its aliases stand for."""

    def __init__(self, fail: Fail) -> None:
        self._fail = fail
        self._sizes: dict[int, int] = {}

    def visit(self, node: yaml.Node, path: str, above: tuple[int, ...]) -> int:
        """The number of scalars and collections in ``node`` with aliases written out."""
        if id(node) in above:
            raise self._fail(node.start_mark.line + 1, f"{path or 'the file'} contains itself")
        if id(node) not in self._sizes:
            above = (*above, id(node))
            size = 1
            if isinstance(node, yaml.SequenceNode):
                size += sum(self.visit(item, path, above) for item in node.value)
            elif isinstance(node, yaml.MappingNode):
                size += self._mapping(node, path, above)
            if size > MAX_NODES:
                line = node.start_mark.line + 1
                raise self._fail(line, f"{path or 'the file'} holds over {MAX_NODES} values")
            self._sizes[id(node)] = size
        return self._sizes[id(node)]

    def _mapping(self, node: yaml.MappingNode, path: str, above: tuple[int, ...]) -> int:
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: list[yaml.MappingNode] = []
        seen: set[str] = set()
        size = 0
        for key_node, value in node.value:
            key = self._key(key_node, path)
            if key in seen:
                where = f" in {path}" if path else ""
                raise self._fail(key_node.start_mark.line + 1, f"duplicate key '{key}'{where}")
            seen.add(key)
            inner = f"{path}.{key}" if path else key
            size += self.visit(value, inner, above)
            if key_node.tag == _MERGE:
                merged = self._merged(value, path)
            else:
                own[key] = (key_node, value)
        for source in merged:
            for key_node, value in source.value:
                own.setdefault(key_node.value, (key_node, value))
        node.value = list(own.values())
        return size

    def _key(self, node: yaml.Node, path: str) -> str:
        where = f"a key of {path}" if path else "a key"
        if not isinstance(node, yaml.ScalarNode):
            raise self._fail(node.start_mark.line + 1, f"{where} must be a word")
        if not node.value.strip():
            raise self._fail(node.start_mark.line + 1, f"{where} is empty")
        problem = unprintable(node.value)
        if problem:
            raise self._fail(node.start_mark.line + 1, f"{where} {problem}")
        return str(node.value)

    def _merged(self, value: yaml.Node, path: str) -> list[yaml.MappingNode]:
        sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
        if not all(isinstance(source, yaml.MappingNode) for source in sources):
            where = f" in {path}" if path else ""
            line = value.start_mark.line + 1
            raise self._fail(line, f"'<<'{where} takes a mapping or a list of mappings")
        return list(sources)


def scalar(node: yaml.ScalarNode) -> Any:
    """The value of a scalar: None, bool, int, float or str.

    Raises:
        ValueError: its meaning depends on the reader, or no run can use it; the message says what
            it is and what to write.
    """
    text, kind = str(node.value), str(node.tag)
    if kind == TEXT:
        problem = unprintable(text)
        if problem:
            raise ValueError(problem)
        return text
    if kind == NULL:
        return None
    if kind == BOOL and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if kind == INT:
        return _integer(text)
    if kind == FLOAT:
        return _float(text)
    if kind == _AMBIGUOUS:
        raise ValueError(
            f"is {text}, which YAML readers understand differently: write a decimal number "
            "without leading zeros, or put it in quotes if it is text"
        )
    if kind == _DATE:
        raise ValueError(f"is the date {text}: put it in quotes if it is text")
    raise ValueError(f"has the tag {kind.replace(_TAG, '!!')}: leave it out")


_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def unprintable(text: str) -> str:
    """What is wrong with a text that no file name, table or terminal can show; else nothing."""
    for sign in text:
        if (sign < " " and sign not in "\t\n\r") or "\x7f" <= sign < "\xa0" or _is_half(sign):
            return f"holds the character U+{ord(sign):04X}, which cannot be shown: leave it out"
    return ""


def _is_half(sign: str) -> bool:
    return "\ud800" <= sign <= "\udfff"


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    if len(digits) <= 80:
        try:
            number = int(digits, 0)
        except ValueError:
            raise ValueError(f"is no whole number: {text}") from None
        if abs(number) >> _BITS == 0:
            return number
    shown = text if len(text) <= 30 else f"{text[:30]}…"
    raise ValueError(f"is {shown}, more than 64 bits hold: write it as 1e30 if it may be rounded")


def _float(text: str) -> float:
    try:
        number = float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        raise ValueError(f"is no number: {text}") from None
    if not math.isfinite(number):
        raise ValueError(f"is {text}: only finite numbers are allowed")
    return number
