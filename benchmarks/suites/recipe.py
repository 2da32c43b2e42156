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


LARGEST_COUNT = 2**31 - 1


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_COUNT


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_optimizer(value: Any) -> bool:
    numbers = ("lr", "weight_decay", "momentum", "dampening", "eps")
    return (
        _is_mapping(value)
        and isinstance(value.get("type", ""), str)
        and all(_is_number(value[key]) for key in numbers if key in value)
    )


def _is_scheduler(value: Any) -> bool:
    marks = value.get("milestones", []) if _is_mapping(value) else None
    return (
        isinstance(marks, list)
        and isinstance(value.get("type"), str)
        and all(map(_is_number, [value[key] for key in _FRACTIONS if key in value] + marks))
    )


_FRACTIONS = ("begin", "end", "T_max")


def _is_paramwise(value: Any) -> bool:
    if not _is_mapping(value):
        return False
    keys = value.get("custom_keys", {})
    return _is_mapping(keys) and all(map(_is_mapping, keys.values()))


def _is_clip(value: Any) -> bool:
    return value is None or (_is_mapping(value) and _is_number(value.get("max_norm", 1)))


RECIPE_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "batch_size": ("a whole number above zero", _positive),
    "optimizer": ("a mapping such as {type: SGD, lr: 0.1}, with numbers for rates", _is_optimizer),
    "schedule": (
        "a list of mappings such as {type: CosineAnnealingLR, T_max: 1.0}, with fractions of the "
        "budget for begin, end, T_max and milestones",
        lambda value: isinstance(value, list) and all(map(_is_scheduler, value)),
    ),
    "paramwise": ("a mapping, and so must be each of its custom_keys", _is_paramwise),
    "clip_grad": ("a mapping such as {max_norm: 1.0}, or null", _is_clip),
    "accumulate": ("a whole number above zero", _positive),
    "amp": ("float16, bfloat16 or null", lambda value: value in (None, "float16", "bfloat16")),
    "channels_last": ("true or false", lambda value: isinstance(value, bool)),
    "compile": ("true or false", lambda value: isinstance(value, bool)),
    "tf32": ("true or false", lambda value: isinstance(value, bool)),
}
"""Recipe fields: what their value must be, in words and as a check."""
