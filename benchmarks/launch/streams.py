"""Standard streams that no output can crash: any encoding, a full device, a closed descriptor.

A run may take days, and what it prints is the least of it: where stdout cannot be written to, the
command continues, writes its files, and says so at its end.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
from typing import TextIO, cast

PLAIN_SIGNS = {
    "±": "+-", "×": "x", "–": "-", "—": "-", "−": "-", "…": "...", "·": "*", "•": "*", "→": "->",
    "←": "<-", "↑": "^", "↓": "v", "≤": "<=", "≥": ">=", "≈": "~", "≠": "!=", "∞": "inf",
    "²": "^2", "³": "^3", "µ": "u", "μ": "u", "α": "alpha", "✓": "+", "✗": "x", "’": "'",
    "‘": "'", "“": '"', "”": '"', "\u00a0": " ",
}  # fmt: skip
"""What stands for the signs of tables and messages where the encoding has none of them."""
_FRAMES = {"─": "-", "━": "-", "│": "|", "┃": "|"}
_HANDLER = "depthbench"


def _in_plain_signs(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(map(_plain, signs)), error.end


def _plain(sign: str) -> str:
    if "\u2500" <= sign <= "\u259f":  # frames and blocks
        return _FRAMES.get(sign, "+" if sign < "\u2580" else "#")
    if "\ud800" <= sign <= "\udfff":  # a byte of a file name that is in no encoding
        return f"\\x{ord(sign) & 0xFF:02x}"
    return PLAIN_SIGNS.get(sign, "?")


codecs.register_error(_HANDLER, _in_plain_signs)


class _Descriptor(io.FileIO):
    """A descriptor whose first failed write is kept, and whose later ones are dropped."""

    problem: OSError | None = None

    def write(self, data: bytes) -> int | None:  # type: ignore[override]
        if self.problem is None:
            try:
                return super().write(data)
            except OSError as error:
                self.problem = error
        return len(data)


def secure_streams() -> None:
    """Make stdout and stderr of this process such streams; a captured stream stays as it is.

    Descriptors 0 to 2 that are closed are opened on the null device, so that no file that is
    opened later takes their place and gets what is printed.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _secured(number, stream))
            setattr(sys, f"__{name}__", getattr(sys, name))


def _secured(number: int, stream: TextIO | None) -> TextIO:
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    descriptor = _Descriptor(number, "w", closefd=False)
    terminal = descriptor.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(cast(io.RawIOBase, descriptor)),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors=_HANDLER,
        line_buffering=terminal or number == 2,
    )


def write_problem(stream: TextIO) -> str:
    """Why something printed to a stream is lost; empty if nothing is, or the reader has gone."""
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    problem = raw.problem if isinstance(raw, _Descriptor) else None
    if problem is None or problem.errno == errno.EPIPE:
        return ""
    return problem.strerror or str(problem)
