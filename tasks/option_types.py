"""Options against the annotations of what takes them: ``every: int`` takes no text."""

from __future__ import annotations

import collections.abc
import inspect
import json
import os
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from tasks.errors import UserError, did_you_mean

_SCALARS: dict[Any, tuple[str, str, tuple[type, ...]]] = {
    bool: ("true or false", "true or false", (bool,)),
    int: ("a whole number", "whole numbers", (int,)),
    float: ("a number", "numbers", (int, float)),
    str: ("text", "texts", (str, os.PathLike)),
    type(None): ("null", "null", (type(None),)),
}
"""One and several of a type in words, and the classes that its values may have."""
_LISTS: tuple[Any, ...] = (
    list,
    tuple,
    set,
    frozenset,
    collections.abc.Sequence,
    collections.abc.Iterable,
)
_LISTS += (collections.abc.Collection, collections.abc.Set)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def check_types(kind: str, target: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse the first option whose value is not of the annotated type.

    Annotations that are absent, cannot be evaluated, or name other classes are not checked, and a
    value that equals the default always fits.

    Args:
        kind: what takes the options, for the message: ``method 'replacement'``.
        target: a class or a function.
        options: by name, as JSON gives them.

    Raises:
        UserError: names the option, what is expected and what was given.
    """
    hints = _annotations(target)
    parameters = inspect.signature(target).parameters
    for key, value in options.items():
        hint = hints.get(key, Any)
        if fits(value, hint) or (key in parameters and _same(parameters[key].default, value)):
            continue
        known = _choices(hint)
        texts = [each for each in _listed(value) if isinstance(each, str) and each not in known]
        near = did_you_mean(texts[0], known) if texts else ""
        raise UserError(
            f"option '{key}' of {kind} must be {in_words(hint)}, got {shown_value(value)}{near}"
        )


def fits(value: Any, hint: Any) -> bool:
    """Whether a value, as JSON gives it, is of an annotated type."""
    if hint in _SCALARS:
        classes = _SCALARS[hint][2]
        return isinstance(value, classes) and (hint is bool or not isinstance(value, bool))
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in arguments)
    if origin is Literal:
        return value in arguments
    if origin in _LISTS:
        return isinstance(value, list | tuple | set | frozenset) and _items_fit(
            list(value), origin, arguments
        )
    if origin in _MAPPINGS:
        return isinstance(value, Mapping) and (
            len(arguments) < 2 or all(fits(item, arguments[1]) for item in value.values())
        )
    return True


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _choices(hint: Any) -> list[str]:
    """The texts that an annotation names, in all its parts."""
    if get_origin(hint) is Literal:
        return [each for each in get_args(hint) if isinstance(each, str)]
    return [choice for each in get_args(hint) for choice in _choices(each)]


def in_words(hint: Any, several: bool = False) -> str:
    """``a whole number or null``; ``a list of whole numbers``."""
    if hint in _SCALARS:
        one, many, _ = _SCALARS[hint]
        return many if several else one
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(in_words(each, several) for each in arguments))
    if origin is Literal:
        return "one of " + ", ".join(map(shown_value, arguments))
    if origin in _LISTS:
        items = [each for each in arguments if each is not Ellipsis]
        inner = " and ".join(dict.fromkeys(in_words(each, True) for each in items))
        count = f"{len(items)} " if origin is tuple and Ellipsis not in arguments and items else ""
        return ("lists" if several else "a list") + (f" of {count}{inner}" if inner else "")
    if origin in _MAPPINGS:
        return "mappings" if several else "a mapping"
    return "another value"


def shown_value(value: Any, limit: int = 60) -> str:
    """A value as a suite file would have it, cut where it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    text = f"'{value}'" if isinstance(value, str) else text
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _items_fit(items: list[Any], origin: Any, arguments: tuple[Any, ...]) -> bool:
    if origin is tuple and arguments and Ellipsis not in arguments:
        return len(items) == len(arguments) and all(map(fits, items, arguments))
    return not arguments or all(fits(item, arguments[0]) for item in items)


def _same(default: Any, value: Any) -> bool:
    try:
        return type(default) is type(value) and bool(default == value)
    except (TypeError, ValueError):
        return False


def _annotations(target: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function's parameters, or of a class's, those of its bases included."""
    if not inspect.isclass(target):
        return _evaluated(target, getattr(target, "__globals__", {}))
    if "__init__" not in _of_dataclass(target):
        init = target.__init__
        return _evaluated(init, getattr(init, "__globals__", {}))
    found: dict[str, Any] = {}
    for base in reversed(target.__mro__):
        found |= _evaluated(base, vars(sys.modules.get(base.__module__, types)))
    return found


def _of_dataclass(target: type) -> Mapping[str, Any]:
    """The class whose ``__init__`` is used, if ``dataclass`` has written it; else nothing."""
    for base in target.__mro__:
        if "__init__" in vars(base):
            parameters = vars(base).get("__dataclass_params__")
            return vars(base) if parameters is not None and parameters.init else {}
    return {}


def _evaluated(holder: Any, names: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations that can be evaluated; those for type checkers alone cannot."""
    found = {}
    for key, hint in inspect.get_annotations(holder).items():
        if isinstance(hint, str):
            try:
                hint = eval(hint, {**names, "Path": Path})
            except Exception:
                continue
        found[key] = hint
    return found
