"""The option ``dataset`` of a detection or segmentation task: a folder, or the scenes of digits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.errors import UserError
from tasks.openmmlab.scenes import DIGITS, GROUND_AND_DIGITS, digit_scenes
from tasks.options import check_options, label, named

SCENES = "digit_scenes"
_COUNTS = ("train", "val", "test", "size", "seed")
_CLASSES = {"mmdet": DIGITS, "mmseg": GROUND_AND_DIGITS}


def dataset_options(
    dataset: str | Mapping[str, Any], root: Path, scope: str
) -> tuple[str, dict[str, Any]]:
    """A data set's label and its options, among them the ``path`` of its folder.

    ``digit_scenes`` needs no data: its pictures are made under ``root`` when it is first named.
    Its options are those of :func:`tasks.openmmlab.scenes.make_digit_scenes`, and a ``label``.

    Args:
        dataset: a name, or a mapping of a name and options.
        root: the folder of all data sets.
        scope: ``mmdet`` or ``mmseg``: whether boxes or pixels have the classes.

    Raises:
        UserError: no name, an option that the scenes do not have, or no place to write them.
    """
    name, options = named("dataset", dataset)
    if name == SCENES and "path" not in options:
        return _scenes(options, root, scope)
    path = Path(str(options.pop("path", root / name))).expanduser()
    shown = str(options.pop("label", Path(name).name))
    return shown, {"path": path, **options}


def _scenes(options: dict[str, Any], root: Path, scope: str) -> tuple[str, dict[str, Any]]:
    shown = options.pop("label", None) or label(SCENES, options)
    check_options(f"option of {SCENES}", options, (*_COUNTS, "label"))
    for key, value in options.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise UserError(f"{key} of {SCENES} must be a whole number, not {value}")
    try:
        path = digit_scenes(root, **options)
    except OSError as error:
        raise UserError(
            f"{SCENES} cannot be written to {root} ({error.strerror}): set data_root, or "
            "DEPTHBENCH_DATA, to a folder that can be written to"
        ) from error
    return str(shown), {"path": path, "classes": list(_CLASSES[scope])}
