"""Sizes of picture files, read from their headers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from tasks.errors import UserError
from tasks.pictures import spread

_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)
"""Exif orientations by a quarter turn, which swap width and height when the picture is loaded."""


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, as stored.

    Raises:
        UserError: the file is absent or no picture.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError) as error:
        raise UserError(f"{path} cannot be read as a picture: replace it") from error


def shown_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels after the turn that the camera noted, as networks see it.

    Raises:
        UserError: as :func:`picture_size`.
    """
    size = picture_size(path)
    return size[::-1] if _is_turned(path) else size


def check_picture_sizes(
    sizes: Mapping[Path, tuple[int, int]], where: str, most: int = 1000
) -> None:
    """Compare the headers of pictures with what ``where`` says of them.

    Args:
        sizes: width and height by file.
        where: the file that says so, for the message.
        most: of more pictures only so many are opened, evenly spread.

    Raises:
        UserError: a picture cannot be read or has another size.
    """
    files = list(sizes)
    for index in spread(len(files), most):
        path, said = files[index], sizes[files[index]]
        size = shown_size(path)
        if size != said:
            raise UserError(
                f"{path} has {size[0]}x{size[1]} pixels, but {where} says {said[0]}x{said[1]}: "
                "correct the annotations or replace the picture"
            )


def _is_turned(path: Path) -> bool:
    with Image.open(path) as image:
        return image.getexif().get(_ORIENTATION) in _TURNED
