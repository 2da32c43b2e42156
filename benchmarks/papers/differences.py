"""How two runs of one claim differ: read off their specs, so that it cannot drift."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.spec import RunSpec, derive_label

_NAMES = {"dataset": "data", "arch": "network"}


def differences(published: RunSpec, spec: RunSpec) -> list[str]:
    """``budget 1280 samples (paper: 150 epochs)`` and so on; empty where nothing differs.

    Where a run goes (suite, device, threads) is no part of it.
    """
    return list(_changes(published, spec))


def _changes(published: RunSpec, spec: RunSpec) -> Iterator[str]:
    yield from _keys(published.task_options, spec.task_options)
    if published.budget != spec.budget:
        yield f"budget {spec.budget} (paper: {published.budget})"
    if published.method == spec.method:
        yield from _keys(published.method_options, spec.method_options)
    else:
        then = derive_label(published.method, published.method_options)
        now = derive_label(spec.method, spec.method_options)
        yield f"method {now} (paper: {then})"
    if published.recipe and not spec.recipe:
        yield "the task's own recipe (optimizer, schedule, batch size)"
    else:
        yield from _keys(published.recipe, spec.recipe)


def _keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys([*old, *new]):
        then, now = old.get(key), new.get(key)
        if then == now:
            continue
        name = _NAMES.get(key, key)
        if isinstance(then, Mapping) and isinstance(now, Mapping) and "type" in now:
            yield from _keys(then, now)
        elif then is None:
            yield f"{name} {_shown(now)}"
        elif now is None:
            yield f"default {name} (paper: {_shown(then)})"
        else:
            yield f"{name} {_shown(now)} (paper: {_shown(then)})"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        if "type" in value:
            return str(value["type"])
        options = ", ".join(f"{k}={_shown(v)}" for k, v in value.items() if k != "name")
        return f"{value['name']}({options})" if "name" in value else options
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return "none" if value is None or value == [] else str(value)
