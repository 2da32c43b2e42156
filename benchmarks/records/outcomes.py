"""``outcomes.npz``: what came of each test image, so that later comparisons can pair the images.

A byte for each image and deployable network with the last weights, in the order of the split:
1 or 0 for right or wrong in classification, the number of objects found in detection (at an IoU of
0.5, at most 255), the share of pixels that are right in segmentation (255 is all of them).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.records.files import disk_errors
from tasks.errors import UserError

_DATE = (1980, 1, 1, 0, 0, 0)


def write_outcomes(path: Path, outcomes: Mapping[str, np.ndarray]) -> None:
    """Write them by variant, each (N,) uint8; the same outcomes give the same bytes."""
    with disk_errors(path), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for variant, values in outcomes.items():
            content = io.BytesIO()
            np.save(content, np.asarray(values, np.uint8), allow_pickle=False)
            info = zipfile.ZipInfo(f"{variant}.npy", _DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, content.getvalue())


def read_outcomes(path: Path) -> dict[str, np.ndarray]:
    """The outcomes by variant; empty where there is no file.

    Raises:
        UserError: it is not one.
    """
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as found:
            return {variant: found[variant] for variant in found.files}
    except (OSError, ValueError, zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"{path} holds no outcomes of images: {error}") from error
