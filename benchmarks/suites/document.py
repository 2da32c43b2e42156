"""YAML documents whose errors name file and line, and the suite files of the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from benchmarks.suites.yaml_nodes import compose, scalar
from tasks.errors import UserError
from tasks.option_types import shown_value


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


def suite_files() -> dict[str, Path]:
    """The built-in suite files by name."""
    folder = Path(str(resources.files("benchmarks") / "suites"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def suite_names() -> dict[str, str]:
    """The built-in suites: name to title."""
    documents = {name: Document(str(path), read_text(path)) for name, path in suite_files().items()}
    return {name: document.value().get("title", name) for name, document in documents.items()}


DEVICES = r"auto|cpu|cuda(:\d+)?"
"""Pattern of the names of devices."""
Place = tuple[str | int, ...]
"""Keys and positions that lead to a value."""


class Refusal(ValueError):  # noqa: N818 (not raised any further)
    """What is wrong with a part of a value, in a sentence.

    Args:
        sentence: says all by itself.
        at: where the part is in the value.
        key: the key of it that is wrong, if one is.
    """

    def __init__(self, sentence: str, *at: str | int, key: str = "") -> None:
        super().__init__(sentence)
        self.at = at
        self.key = key


class Document:
    """One YAML document, as a tree of nodes that know their lines.

    Anchors, aliases and merge keys (``<<``) may be used anywhere.

    Args:
        source: what messages name: a file, or an option of the command line.
        text: the document.
        lines: whether messages name the line.

    Raises:
        UserError: the text is not YAML, or has a key twice.
    """

    def __init__(self, source: str, text: str, lines: bool = True) -> None:
        self.source = source
        self._lines = lines
        self._root: yaml.Node = compose(text.removeprefix("\ufeff"), self._error)

    def _error(self, line: int, message: str) -> UserError:
        place = f"{self.source}:{line}" if self._lines else self.source
        return UserError(f"{place}: {message}")

    def value(self, what: str = "") -> Any:
        """The whole document, called ``what``, as JSON could hold it.

        Raises:
            UserError: a value is ambiguous, or nothing that JSON holds.
        """
        return self._value(self._root, what)

    def _value(self, node: yaml.Node, what: str) -> Any:
        if isinstance(node, yaml.ScalarNode):
            try:
                return scalar(node)
            except ValueError as error:
                message = f"{what or 'the file'} {error}"
                raise self._error(node.start_mark.line + 1, message) from None
        if not node.tag.endswith((":map", ":seq")):
            message = f"{what or 'the file'} has the tag {node.tag}: leave it out"
            raise self._error(node.start_mark.line + 1, message)
        entry = "an entry of "
        if isinstance(node, yaml.SequenceNode):
            return [self._value(each, entry + what.removeprefix(entry)) for each in node.value]
        prefix = f"{what}." if what and not what.startswith(entry) else ""
        return {key.value: self._value(each, prefix + key.value) for key, each in node.value}

    def line(self, path: Place, key: Any = None) -> int:
        """The line of what a path leads to, as far as it does, or of a key in it; from 1."""
        node = self._find(path)
        if isinstance(node, yaml.MappingNode):
            node = next((each for each, _ in node.value if each.value == key), node)
        return node.start_mark.line + 1

    def fail(self, path: Place, message: str, key: Any = None) -> UserError:
        """The error for what a path leads to, or for a key in it, to be raised."""
        return self._error(self.line(path, key), message)

    def written(self, path: Place, value: Any) -> str:
        """A value as the file has it, for a message."""
        node = self._find(path)
        if isinstance(node, yaml.ScalarNode) and not isinstance(value, str):
            return " ".join(node.value.split()) or "nothing"
        return shown_value(value)

    def _find(self, path: Place) -> yaml.Node:
        node = self._root
        for part in path:
            if isinstance(node, yaml.MappingNode):
                node = next((value for key, value in node.value if key.value == part), node)
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                node = node.value[part]
        return node
