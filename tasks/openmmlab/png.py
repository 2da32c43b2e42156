"""PNG files of the same bytes on every machine."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

_LONGEST = 0xFFFF
_COLOUR = {2: 0, 3: 2}
"""PNG's colour type by dimensions: grey, or red, green and blue."""


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W) or (H, W, 3) uint8 pixels uncompressed, making the folder.

    Compressed files differ between versions of zlib, and with them a data set's digest. Format:
    W3C PNG and RFC 1950 and 1951, stored blocks.
    """
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    raw = np.pad(rows, ((0, 0), (1, 0))).tobytes()  # a row begins with its filter, here none
    stream = [b"\x78\x01"]
    for first in range(0, len(raw), _LONGEST):
        block = raw[first : first + _LONGEST]
        last = first + _LONGEST >= len(raw)
        stream.append(struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block)
    stream.append(struct.pack(">I", zlib.adler32(raw)))
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR[pixels.ndim], 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", b"".join(stream))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
