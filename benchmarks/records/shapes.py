"""The types of what is read from JSON files, checked once, where it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

NUMBER = (int, float)
OPTIONAL_INT = (int, type(None))

Shape = Any
"""A type or a tuple of types; :class:`Keys`; :class:`Each`."""


@dataclass(frozen=True)
class Keys:
    """A mapping.

    Attributes:
        known: the shapes of its keys; other keys may hold anything.
        required: keys that must be there.
    """

    known: Mapping[str, Shape]
    required: tuple[str, ...] = ()


@dataclass(frozen=True)
class Each:
    """A list, or a mapping with any keys, whose items all have one shape."""

    shape: Shape
    kind: type = list


_MAPPING = Keys({})
_SPEC = Keys(
    {
        "suite": str,
        "profile": str,
        "task": str,
        "task_options": _MAPPING,
        "method": str,
        "method_options": _MAPPING,
        "seed": int,
        "budget": Each(NUMBER, dict),
        "label": str,
        "recipe": _MAPPING,
        "device": str,
        "validate_every": NUMBER,
        "latency_batch_sizes": Each(int),
        "method_file": (str, type(None)),
        "threads": OPTIONAL_INT,
    }
)
MANIFEST = Keys(
    {
        "schema": int,
        "status": str,
        "run_id": str,
        "label": str,
        "reason": str,
        "rows_sha256": str,
        "headline": str,
        "task": str,
        "dataset": str,
        "arch": str,
        "created": str,
        "finished": str,
        "spec": _SPEC,
        "recipe": _MAPPING,
        "device": Keys({"name": str, "type": str, "nvml": _MAPPING}),
        "environment": Keys({"git": _MAPPING, "packages": _MAPPING}),
        "fingerprint": Keys({"code": Each(str, dict), "data": _MAPPING, "versions": _MAPPING}),
        "segments": Each(Keys({}, ("started", "ended"))),
        "phases": Each(Keys({"name": str, "batches": int, "steps": int}, ("name",))),
        "best_epoch": OPTIONAL_INT,
        "meters": _MAPPING,
    },
    ("status",),
)
"""``manifest.json`` of a run."""

DIGEST = Keys({"schema": int, "files": Each(str, dict)}, ("schema", "files"))
"""``digest.json`` of a run."""

_RUN = Keys(
    {"run_id": str, "label": str, "seed": int, "baseline": bool}, ("run_id", "label", "seed")
)
PLAN = Keys(
    {
        "schema": int,
        "suite": str,
        "profile": str,
        "title": str,
        "budget": Each(NUMBER, dict),
        "runs": Each(_RUN),
        "files": Each(str, dict),
        "sha256": str,
    },
    ("suite", "profile", "title", "budget", "runs"),
)
"""``plan.json`` of a results folder."""


def misfit(value: Any, shape: Shape) -> str:
    """What does not have its shape, as ``'spec' is null, not a mapping``; empty where all has."""
    found = _misfit(value, shape)
    if found is None:
        return ""
    path, wrong = found
    return f"'{'.'.join(reversed(path))}' {wrong}" if path else f"the whole {wrong}"


_NAMES = {
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    dict: "a mapping",
    list: "a list",
}
_Misfit = tuple[list[str], str]
"""The keys that lead to it, from the inside out, and what is wrong."""


def _misfit(value: Any, shape: Shape) -> _Misfit | None:
    if isinstance(shape, Keys):
        if not isinstance(value, dict):
            return _wrong(value, (dict,))
        for key in shape.required:
            if key not in value:
                return [key], "is missing"
        for key, inner in shape.known.items():
            if key in value and (found := _misfit(value[key], inner)):
                found[0].append(key)
                return found
    elif isinstance(shape, Each):
        if not isinstance(value, shape.kind):
            return _wrong(value, (shape.kind,))
        items: Any = value
        keys: Iterable[Any] = items if shape.kind is dict else range(len(items))
        for each in keys:
            if found := _misfit(items[each], shape.shape):
                found[0].append(str(each))
                return found
    else:
        kinds = shape if isinstance(shape, tuple) else (shape,)
        return None if type(value) in kinds else _wrong(value, kinds)
    return None


def _wrong(value: Any, kinds: tuple[type, ...]) -> _Misfit:
    wanted = " or ".join(dict.fromkeys(_NAMES[kind] for kind in kinds))
    return [], f"is {_NAMES[type(value)]}, not {wanted}"
