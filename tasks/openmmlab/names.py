"""Names of registered classes in what a suite says, and never of anything else.

mmengine's registries import whatever module a name that they do not hold points to
(``type: torch.hub.load``), and a scope's package. A suite is data: what it names is looked up in
the registries' own tables.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import mmengine.registry
from mmengine.registry import Registry

from tasks.errors import UserError, did_you_mean, unknown_name

_SCOPES = ("mmengine", "mmcv", "mmdet", "mmseg")


def require_registered(changes: Mapping[str, Any], scope: str) -> None:
    """Refuse a ``type`` that no registry holds, at any depth of changes to a config.

    Args:
        changes: values by dotted keys.
        scope: ``mmdet`` or ``mmseg``, whose classes are registered.

    Raises:
        UserError: names the key and what it says.
    """
    tables = {each: _names(each) for each in ("mmengine", scope)}
    for key, kind, value in _named(changes):
        if kind == "_scope_":
            if value not in _SCOPES:
                raise unknown_name(f"scope of '{key}'", str(value), _SCOPES)
            continue
        prefix, _, name = str(value).rpartition(".")
        if not isinstance(value, str) or prefix not in ("", *_SCOPES):
            raise UserError(
                f"'{key}' names '{value}', which is no registered class: a suite names classes by "
                f"their names in {scope}'s or mmengine's registries, and never a path to import"
            )
        known = set().union(*tables.values()) if not prefix else tables.get(prefix, set())
        if name not in known:
            hint = did_you_mean(name, known)
            raise UserError(f"'{key}' names '{name}', which {scope} does not have{hint}")


def require_type(kind: str, config: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse a config whose type is not of a registry's table, or that has further ones inside.

    Args:
        kind: what the config is of, for errors: ``optimizer``.
        config: as a suite or a method gives it.
        known: the names in the registry.

    Raises:
        UserError: names what is not known.
    """
    name = config.get("type")
    if not isinstance(name, str) or name not in set(known):
        raise unknown_name(kind, str(name), known)
    inner = {key: value for key, value in config.items() if key != "type"}
    for key, _, value in _named(inner):
        raise UserError(f"the {kind} {name} cannot take '{key}: {value}': give plain values")


def _named(node: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every dotted key that ends in ``type`` or ``_scope_``, which of the two, and its value."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, list | tuple):
        items = enumerate(node)
    for key, value in items:
        inside = f"{path}.{key}" if path else str(key)
        last = inside.rpartition(".")[2]
        if last in ("type", "_scope_"):
            yield inside, last, value
        yield from _named(value, inside)


def _names(package: str) -> set[str]:
    module = (
        mmengine.registry
        if package == "mmengine"
        else importlib.import_module(f"{package}.registry")
    )
    tables = [each for each in vars(module).values() if isinstance(each, Registry)]
    return {name for table in tables for name in table.module_dict}
