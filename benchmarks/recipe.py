"""A suite's changes to a task's recipe: which are possible, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from tasks.base import Recipe
from tasks.errors import unknown_name


def merge_recipe(default: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with the changes of a suite or of a method's phase.

    ``optimizer`` is merged key by key, unless it names another optimizer type: momentum means
    nothing to Adam. Every other field is replaced.

    Raises:
        UserError: a change is no field of a recipe.
    """
    names = [f.name for f in fields(Recipe)]
    for key in changes:
        if key not in names:
            raise unknown_name("recipe field", key, names)
    merged = dict(changes)
    if "schedule" in merged:
        merged["schedule"] = tuple(merged["schedule"])
    if "optimizer" in merged:
        asked = merged["optimizer"]
        same = asked.get("type", default.optimizer.get("type")) == default.optimizer.get("type")
        merged["optimizer"] = {**default.optimizer, **asked} if same else dict(asked)
    return replace(default, **merged)


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


RECIPE_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "batch_size": ("a whole number above zero", _positive),
    "optimizer": ("a mapping such as {type: SGD, lr: 0.1}", _is_mapping),
    "schedule": (
        "a list of mappings",
        lambda value: isinstance(value, list) and all(map(_is_mapping, value)),
    ),
    "paramwise": ("a mapping", _is_mapping),
    "clip_grad": ("a mapping or null", lambda value: value is None or _is_mapping(value)),
    "accumulate": ("a whole number above zero", _positive),
    "amp": ("float16, bfloat16 or null", lambda value: value in (None, "float16", "bfloat16")),
    "channels_last": ("true or false", lambda value: isinstance(value, bool)),
    "compile": ("true or false", lambda value: isinstance(value, bool)),
}
"""Recipe fields: what their value must be, in words and as a check."""
