"""mmdet's and mmsegmentation's configs by name or file, changed to what a run needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from tasks.errors import UserError, did_you_mean
from tasks.openmmlab.scope import PACKAGES

NEEDED = ("model", "train_dataloader", "val_dataloader", "optim_wrapper", "train_cfg")


def load_config(name: str, scope: str) -> Config:
    """A config as its file says. The file is Python, and is run.

    Args:
        name: ``mmdet::retinanet/retinanet_r50_fpn_1x_coco.py`` for one that the package ships,
            or the path of a file.
        scope: ``mmdet`` or ``mmseg``, which the config must be of.

    Raises:
        UserError: there is no such config, it cannot be read, or it trains nothing.
    """
    package, separator, inside = name.partition("::")
    path = _shipped(package, inside, scope) if separator else Path(name).expanduser()
    if not path.is_file():
        raise UserError(
            f"there is no config file {path}: give the path of one, or {scope}::FOLDER/FILE.py for "
            f"one of {PACKAGES[scope]}"
        )
    try:
        config = Config.fromfile(str(path))
    except Exception as error:  # a config is Python: anything can be wrong in it
        problem = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"the config {path.name} cannot be read: {problem}") from error
    for key in NEEDED:
        if key not in config:
            raise UserError(f"the config {path.name} has no '{key}': name one that trains a model")
    if config.get("default_scope", scope) != scope:
        raise UserError(
            f"the config {path.name} is of {config.default_scope}, not of {scope}: "
            "choose the task that fits it"
        )
    return config


def custom_imports(config: Config) -> tuple[str, ...]:
    """The modules that a config has mmengine import: ``custom_imports=dict(imports=[...])``."""
    names = (config.get("custom_imports") or {}).get("imports") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def override(config: Config, changes: Mapping[str, Any]) -> None:
    """Set dotted keys in place: ``{"model.backbone.depth": 18}``; an index stands for a list item.

    Raises:
        UserError: a key leads through something that the config does not have.
    """
    for key, value in changes.items():
        *parents, last = key.split(".")
        place: Any = config
        for number, part in enumerate(parents):
            place = _inside(place, part, ".".join(parents[: number + 1]), key)
        if isinstance(place, list):
            _inside(place, last, key, key)
            place[int(last)] = value
        elif isinstance(place, Config | dict):
            place[last] = ConfigDict(value) if isinstance(value, dict) else value
        else:
            raise UserError(f"'{key}' cannot be set: '{'.'.join(parents)}' holds no keys")


def walk(node: Any) -> Iterator[dict[str, Any]]:
    """All mappings of a config, outer ones first."""
    if isinstance(node, dict):
        yield node
        for value in list(node.values()):
            yield from walk(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from walk(value)


def take_weights(model: dict[str, Any]) -> list[str]:
    """Remove every request for pretrained weights in place and return what they named."""
    named = []
    for node in walk(model):
        init = node.get("init_cfg")
        if isinstance(init, dict) and init.get("type") == "Pretrained":
            named.append(str(init.get("checkpoint")))
            node["init_cfg"] = None
        if isinstance(node.get("pretrained"), str):
            named.append(node["pretrained"])
            node["pretrained"] = None
    return named


def set_classes(model: dict[str, Any], classes: int) -> None:
    """Give every head that many classes, and its losses as many weights, in place.

    Raises:
        UserError: a loss weighs the config's own classes one by one.
    """
    for node in walk(model):
        # Mask2Former counts things and stuff apart; a detector's has no stuff.
        key = "num_things_classes" if node.get("num_stuff_classes") == 0 else "num_classes"
        if key in node:
            before, node[key] = node[key], classes
            if before != classes:
                _set_class_weights(node, before, classes)


def _set_class_weights(head: dict[str, Any], before: int, classes: int) -> None:
    for loss in walk(head):
        weights = loss.get("class_weight")
        # One more is for what belongs to no class.
        if not isinstance(weights, list | tuple) or len(weights) not in (before, before + 1):
            continue
        if len(set(weights[:before])) > 1:
            raise UserError(
                f"the config's {loss.get('type', 'loss')} weighs each of its {before} classes, but "
                f"there are {classes}: set its class_weight to null or to {classes} numbers"
            )
        loss["class_weight"] = [*[weights[0]] * classes, *weights[before:]]


def use_one_device(model: dict[str, Any]) -> None:
    """Batch norm instead of its synchronised form, in place: a run has one device."""
    for node in walk(model):
        if node.get("type") in ("SyncBN", "MMSyncBN"):
            node["type"] = "BN"


def padded_to(preprocessor: Mapping[str, Any]) -> int:
    """What pads tested pictures to a multiple of so many pixels: mmdet's way or mmseg's."""
    tested = preprocessor.get("test_cfg") or {}
    return preprocessor.get("pad_size_divisor") or tested.get("size_divisor") or 1


def transforms(pipeline: Any, change: Callable[[dict[str, Any]], None]) -> None:
    """Call ``change`` on every transform of a pipeline, nested ones included."""
    for node in walk(pipeline):
        if "type" in node:
            change(node)


def _shipped(package: str, inside: str, scope: str) -> Path:
    if package != scope:
        raise UserError(
            f"the config {package}::{inside} is not of {scope}: write {scope}::{inside}"
        )
    spec = importlib.util.find_spec(scope)
    if spec is None or spec.origin is None:
        raise UserError(
            f"{PACKAGES[scope]} is not installed: install depthbench as its README says"
        )
    root = Path(spec.origin).parent / ".mim" / "configs"
    path = root / inside
    if not path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{package}::{inside} is no config of {PACKAGES[scope]}: give its own path")
    if path.suffix != ".py":
        path = path.with_name(path.name + ".py")
    if not path.is_file():
        known = [str(p.relative_to(root)) for p in root.rglob("*.py") if "_base_" not in p.parts]
        hint = did_you_mean(inside, known) or did_you_mean(
            path.name, [Path(name).name for name in known]
        )
        raise UserError(
            f"{PACKAGES[scope]} has no config '{inside}'{hint}: names are those of the files in "
            "its configs folder, such as FOLDER/FILE.py"
        )
    return path


def _inside(place: Any, part: str, path: str, key: str) -> Any:
    if isinstance(place, list | tuple) and part.isdigit() and int(part) < len(place):
        return place[int(part)]
    if isinstance(place, Config | dict) and part in place:
        return place[part]
    known = list(place) if isinstance(place, Config | dict) else []
    raise UserError(f"'{key}' cannot be set: the config has no '{path}'{did_you_mean(part, known)}")
