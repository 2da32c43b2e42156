"""YAML read by hand, so that every complaint can name its file and line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.suites.yaml_nodes import compose, scalar
from tasks.errors import UserError, did_you_mean


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        UserError: it cannot be read, or is in another encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}:{line}: cannot read the byte 0x{data[error.start]:02x}: save the file as UTF-8"
        ) from error


class MarkedYaml:
    """One YAML document as nodes that know their lines.

    Anchors, aliases and merge keys (``<<``) may be used anywhere.

    Args:
        source: what messages name: a file, or an option of the command line.
        text: the document.
        lines: whether messages name the line.

    Raises:
        UserError: the text is not YAML, or has a key twice; every method raises it too, with file
            and line, when a node is not what was asked for.
    """

    def __init__(self, source: str, text: str, lines: bool = True) -> None:
        self.source = source
        self._lines = lines
        self.root: yaml.Node = compose(text.removeprefix("\ufeff"), self._error)

    def _error(self, line: int, message: str) -> UserError:
        place = f"{self.source}:{line}" if self._lines else self.source
        return UserError(f"{place}: {message}")

    def fail(self, node: yaml.Node, message: str) -> UserError:
        """The error for ``node``, to be raised."""
        return self._error(node.start_mark.line + 1, message)

    def mapping(
        self, node: yaml.Node, what: str, allowed: Iterable[str] | None = None
    ) -> dict[str, yaml.Node]:
        """The values of a mapping by key; a key outside ``allowed`` is refused."""
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, f"{what} must be a mapping (key: value)")
        known = None if allowed is None else sorted(allowed)
        for key_node, _ in node.value:
            key = key_node.value
            if known is not None and key not in known:
                hint = did_you_mean(key, known)
                raise self.fail(
                    key_node, f"unknown key '{key}' in {what}{hint}; known: {', '.join(known)}"
                )
        return {key_node.value: value for key_node, value in node.value}

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        """The nodes of a list that is not empty."""
        if not isinstance(node, yaml.SequenceNode):
            raise self.fail(node, f"{what} must be a list")
        if not node.value:
            raise self.fail(node, f"{what} must not be empty")
        return list(node.value)

    def value(self, node: yaml.Node, what: str) -> Any:
        """Any value that JSON can hold as well: keys are text, numbers are finite."""
        if isinstance(node, yaml.ScalarNode):
            try:
                return scalar(node)
            except ValueError as error:
                raise self.fail(node, f"{what} {error}") from None
        if not node.tag.endswith((":map", ":seq")):
            raise self.fail(node, f"{what} has the tag {node.tag}: leave it out")
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, f"an entry of {what}") for item in node.value]
        return {key.value: self.value(item, f"{what}.{key.value}") for key, item in node.value}

    def text(self, node: yaml.Node, what: str) -> str:
        """A text; numbers and truth values are refused, so quote them."""
        value = self.value(node, what)
        if not isinstance(value, str) or not value.strip():
            quote = ": put it in quotes" if isinstance(node, yaml.ScalarNode) and node.value else ""
            raise self.fail(node, f"{what} must be text, got {written(node, value)}{quote}")
        return value

    def integer(self, node: yaml.Node, what: str, least: int, most: int = 2**31 - 1) -> int:
        """A whole number from ``least`` to ``most``."""
        value = self.value(node, what)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            limit = f"of at least {least}" if _is_below(value, least) else f"from {least} to {most}"
            raise self.fail(
                node, f"{what} must be a whole number {limit}, got {written(node, value)}"
            )
        return value

    def integers(
        self, node: yaml.Node, what: str, least: int, most: int = 2**31 - 1
    ) -> tuple[int, ...]:
        """A list of different whole numbers from ``least`` to ``most``."""
        values = [
            self.integer(item, f"an entry of {what}", least, most)
            for item in self.items(node, what)
        ]
        for position, value in enumerate(values):
            if value in values[:position]:
                raise self.fail(node.value[position], f"duplicate value {value} in {what}")
        return tuple(values)

    def choice(self, node: yaml.Node, what: str, known: Iterable[str]) -> str:
        """One of the ``known`` words."""
        known = list(known)
        value = self.text(node, what)
        if value not in known:
            hint = did_you_mean(value, known)
            raise self.fail(node, f"{what} is '{value}'{hint}; known: {', '.join(known)}")
        return value


def written(node: yaml.Node, value: Any) -> str:
    """A value as the file has it, cut where it is long, for a message."""
    if isinstance(node, yaml.ScalarNode):
        text = " ".join(str(node.value).split())
        text = text if len(text) <= 60 else f"{text[:59]}…"
        return f"'{text}'" if isinstance(value, str) else text or "nothing"
    return "a list" if isinstance(value, list) else "a mapping"


def _is_below(value: Any, least: int) -> bool:
    return not isinstance(value, int) or value < least
