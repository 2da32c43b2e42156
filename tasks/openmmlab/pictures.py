"""Pictures for mmdet's and mmsegmentation's pipelines, decoded as those of every family are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import TRANSFORMS

from tasks.errors import UserError
from tasks.files.decoding import plain, rgb

_MMCV = "LoadImageFromFile"
_IN_COLOUR = ("color", "color_ignore_orientation")


@TRANSFORMS.register_module()
class LoadPicture:
    """Put the picture at ``img_path`` under ``img``: (H, W, 3) uint8 or float32, in BGR.

    Args:
        to_float32: whether pixels become float32.
    """

    def __init__(self, to_float32: bool = False) -> None:
        self._to_float32 = to_float32

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``img``, ``img_shape`` and ``ori_shape``.

        Raises:
            UserError: the file is no picture that can be read.
        """
        picture = bgr(Path(results["img_path"]))
        results["img"] = picture.astype(np.float32) if self._to_float32 else picture
        results["img_shape"] = results["ori_shape"] = picture.shape[:2]
        return results


def bgr(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 pixels in BGR, those of :func:`tasks.files.decoding.rgb`.

    Raises:
        UserError: as there.
    """
    if plain(path):
        import cv2  # not at the top: the task says what to install where it is not there

        # The same pixels in half the time.
        found = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        if found is not None:
            return found
    return np.ascontiguousarray(np.asarray(rgb(path))[..., ::-1])


def read_alike(transform: dict[str, Any]) -> None:
    """Make a pipeline's transform read pictures by :class:`LoadPicture`, in place.

    Raises:
        UserError: the config wants them otherwise than in colour.
    """
    if transform["type"] != _MMCV:
        return
    how = transform.get("color_type", _IN_COLOUR[0])
    if how not in _IN_COLOUR:
        raise UserError(
            f"the config reads pictures with color_type '{how}', but models are given three "
            "channels: leave it out"
        )
    to_float32 = transform.get("to_float32", False)
    transform.clear()
    transform.update(type=LoadPicture.__name__, to_float32=to_float32)
