"""Options that name something and may change it: ``resnet18`` or ``{name: resnet18, width: 8}``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.errors import UserError, unknown_name
from tasks.option_types import shown_value


def named(option: str, value: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name, and what comes with it.

    Raises:
        UserError: a mapping without a name, or with one that is no text.
    """
    if isinstance(value, str):
        return value, {}
    rest = dict(value)
    if "name" not in rest:
        raise UserError(f"{option} needs a name: write {option}: NAME or {option}: {{name: NAME}}")
    name = rest.pop("name")
    if not isinstance(name, str):
        raise UserError(f"the name of {option} must be text, got {shown_value(name)}")
    return name, rest


def label(name: str, options: Mapping[str, Any]) -> str:
    """``resnet18(width=8)``: what tables call it."""
    inner = ", ".join(f"{key}={value}" for key, value in options.items())
    return f"{name}({inner})" if inner else name


def check_options(kind: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise ``UserError`` for the first given key that is not known."""
    known = list(known)
    for key in given:
        if key not in known:
            raise unknown_name(kind, key, known)


def size_of(option: str, value: Sequence[int] | None) -> tuple[int, int] | None:
    """Width and height.

    Raises:
        UserError: it is not two positive whole numbers.
    """
    if value is None:
        return None
    sides = list(value) if isinstance(value, list | tuple) else []
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise UserError(f"{option} must be [width, height] in pixels, not {value}")
    return sides[0], sides[1]
