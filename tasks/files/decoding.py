"""One way to decode pictures, for every family of tasks.

Pixels become 8 bits of red, green and blue, upright. Of 16 bits the upper 8 are kept, alpha is
dropped, palettes are looked up, and the orientation that Exif states is applied. What has no such
meaning (floating point, 32-bit integers, several frames) is refused by the file's name.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tasks.errors import UserError
from tasks.files.listing import shown

RULES = 2
"""Raised when the same file is decoded, or checked, in another way."""
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)
"""Exif orientations by a quarter turn, which swap width and height."""
_COLOURS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")
_LEVELS = 256
_LOSSY = ("JPEG", "JPEG2000", "MPO", "WEBP")
_LOSSY_IN_TIFF = ("jpeg", "tiff_jpeg", "webp")


def rgb(path: Path, data: bytes | None = None) -> Image.Image:
    """The picture in a file, upright, in 8 bits of red, green and blue.

    Args:
        path: the file.
        data: its content, where it has been read.

    Raises:
        UserError: the file cannot be read, or is no picture that has a meaning in 8 bits.
    """
    with _opened(path, data) as image:
        return _in_rgb(image, path)


def plain(path: Path) -> bool:
    """Whether OpenCV gives the same pixels as :func:`rgb`, in half the time: an upright JPEG."""
    with _opened(path, None) as image:
        return image.mode in ("L", "RGB") and image.format == "JPEG" and _orientation(image) == 1


def has_orientation(path: Path) -> bool:
    """Whether Exif data say that a picture is to be turned or mirrored."""
    with _opened(path, None) as image:
        return _orientation(image) != 1


def size_of_picture(path: Path, data: bytes) -> tuple[int, int]:
    """Decode a picture, and return the width and height that :func:`rgb` gives it.

    Raises:
        UserError: as :func:`rgb`.
    """
    with _opened(path, data) as image:
        size = image.size
        turned = _orientation(image) in _TURNED
        # A JPEG is read to its end all the same, at a quarter of the time.
        reduced = image.draft(image.mode, (1, 1)) is not None
        pixels = _in_rgb(image, path)
        if not reduced:
            return pixels.size
        return size[::-1] if turned else size


def labels_of_mask(path: Path, data: bytes) -> tuple[tuple[int, int], frozenset[int]]:
    """Width, height and the labels that occur in a mask of one channel of 8 bits, as stored.

    Raises:
        UserError: the file cannot be read, has other channels or an orientation, or does not keep
            labels as they are.
    """
    with _opened(path, data) as image:
        if image.mode not in ("L", "P"):
            raise UserError(
                f"{shown(path)} is a picture of mode {image.mode}: masks have one channel of "
                "8 bits that holds train ids"
            )
        if image.format in _LOSSY or image.info.get("compression") in _LOSSY_IN_TIFF:
            raise UserError(
                f"{shown(path)} is a {image.format} file that is compressed with loss, which "
                "changes labels: write masks as PNG"
            )
        if _changes_levels(image):
            raise UserError(
                f"{shown(path)} has grey values of less than 8 bits, or inverted ones, which are "
                "changed when they are read: masks have one channel of 8 bits that holds train ids"
            )
        if _orientation(image) != 1:
            raise UserError(
                f"{shown(path)} has an Exif orientation, which masks are read without: save it "
                "upright and without one"
            )
        counts = image.histogram()
        return image.size, frozenset(label for label, count in enumerate(counts) if count)


def _changes_levels(image: Image.Image) -> bool:
    """Whether Pillow stretches or inverts grey levels, which makes other labels."""
    for codec, _, _, args in getattr(image, "tile", ()):
        form, *others = args if isinstance(args, tuple) else (args,)
        if isinstance(form, str) and form.startswith("L;"):
            return True
        if codec.startswith("ppm") and others != [_LEVELS - 1]:
            return True
    return False


def _in_rgb(image: Image.Image, path: Path) -> Image.Image:
    frames = getattr(image, "n_frames", 1)
    if image.format != "MPO" and frames > 1:
        raise UserError(f"{shown(path)} holds {frames} frames: save each as a picture of its own")
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _upper_bits(image, path).convert("RGB")
    if image.mode not in _COLOURS:
        raise UserError(
            f"{shown(path)} is a picture of mode {image.mode}, whose range of values is not known: "
            "save it with 8 or 16 bits a channel, in grey or RGB"
        )
    image.info.pop("transparency", None)
    return image.convert("RGB")


def _upper_bits(image: Image.Image, path: Path) -> Image.Image:
    levels = np.asarray(image)
    if 0 < levels.max() < _LEVELS:
        raise UserError(
            f"{shown(path)} has 16 bits but no value above {levels.max()} of 65535, which is "
            "black: save it with 8 bits, or with the whole range of 16"
        )
    return Image.fromarray((levels // _LEVELS).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(_ORIENTATION, 1)


@contextmanager
def _opened(path: Path, data: bytes | None) -> Iterator[Image.Image]:
    """A picture whose decoding inside raises ``UserError`` alone."""
    try:
        with warnings.catch_warnings():
            # Of Exif data that breaks off, which photographs often have.
            warnings.simplefilter("ignore", UserWarning)
            with Image.open(path if data is None else io.BytesIO(data)) as image:
                yield image
    except UserError:
        raise
    except Exception as error:  # decoders raise whatever a damaged file makes of them
        reason = "it is of no known format"
        if not isinstance(error, UnidentifiedImageError):
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        raise UserError(
            f"{shown(path)} cannot be read as a picture ({reason}): replace or remove it"
        ) from error
