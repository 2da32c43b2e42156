"""YAML read by hand, so that every complaint can name its file and line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import yaml

from tasks.errors import UserError, did_you_mean


class _Loader(yaml.SafeLoader):
    """The safe loader, with ``1e-3`` read as the number that everybody means by it."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+\Z"), list("-+0123456789")
)


class MarkedYaml:
    """One YAML document as nodes that know their lines.

    Args:
        source: the file name that messages name.
        text: the document.

    Raises:
        UserError: the text is not YAML; every method raises it too, with file and line, when a
            node is not what was asked for.
    """

    def __init__(self, source: str, text: str) -> None:
        self.source = source
        self._loader: _Loader | None = None
        try:
            self._loader = _Loader(text)
            root = self._loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise UserError(f"{source}:{line}: this is not YAML: {error.problem}") from error
        except yaml.YAMLError as error:
            raise UserError(f"{source}:1: this is not YAML: {error}") from error
        if root is None:
            raise UserError(f"{source}:1: the file is empty")
        self.root: yaml.Node = root

    def fail(self, node: yaml.Node, message: str) -> UserError:
        """The error for ``node``, to be raised."""
        return UserError(f"{self.source}:{node.start_mark.line + 1}: {message}")

    def mapping(
        self, node: yaml.Node, what: str, allowed: Iterable[str] | None = None
    ) -> dict[str, yaml.Node]:
        """The values of a mapping by key; a key outside ``allowed`` or given twice is refused."""
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, f"{what} must be a mapping (key: value)")
        known = None if allowed is None else sorted(allowed)
        found: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                raise self.fail(key_node, f"a key of {what} must be a word")
            if known is not None and key not in known:
                hint = did_you_mean(key, known)
                raise self.fail(
                    key_node, f"unknown key '{key}' in {what}{hint}; known: {', '.join(known)}"
                )
            if key in found:
                raise self.fail(key_node, f"the key '{key}' stands twice in {what}")
            found[key] = value
        return found

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        """The nodes of a list that is not empty."""
        if not isinstance(node, yaml.SequenceNode):
            raise self.fail(node, f"{what} must be a list")
        if not node.value:
            raise self.fail(node, f"{what} must not be empty")
        return list(node.value)

    def value(self, node: yaml.Node, what: str) -> Any:
        """Any value that JSON can hold as well."""
        assert self._loader is not None
        try:
            value = self._loader.construct_object(node, deep=True)
            return json.loads(json.dumps(value, allow_nan=False))
        except yaml.MarkedYAMLError as error:
            raise self.fail(node, f"{what} cannot be read: {error.problem}") from error
        except (TypeError, ValueError) as error:
            raise self.fail(
                node, f"{what} may hold only text, finite numbers, true, false, lists and mappings"
            ) from error

    def text(self, node: yaml.Node, what: str) -> str:
        """A text; numbers and truth values are refused, so quote them."""
        value = self.value(node, what)
        if not isinstance(value, str) or not value.strip():
            raise self.fail(node, f"{what} must be text, not {value!r}")
        return value

    def integer(self, node: yaml.Node, what: str, least: int) -> int:
        """A whole number of at least ``least``."""
        value = self.value(node, what)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.fail(
                node, f"{what} must be a whole number of at least {least}, not {value!r}"
            )
        return value

    def integers(self, node: yaml.Node, what: str, least: int) -> tuple[int, ...]:
        """A list of different whole numbers of at least ``least``."""
        values = [
            self.integer(item, f"an entry of {what}", least) for item in self.items(node, what)
        ]
        for position, value in enumerate(values):
            if value in values[:position]:
                raise self.fail(node.value[position], f"{value} stands twice in {what}")
        return tuple(values)

    def choice(self, node: yaml.Node, what: str, known: Iterable[str]) -> str:
        """One of the ``known`` words."""
        known = list(known)
        value = self.text(node, what)
        if value not in known:
            hint = did_you_mean(value, known)
            raise self.fail(node, f"{what} is '{value}'{hint}; known: {', '.join(known)}")
        return value
