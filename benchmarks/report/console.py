"""The terminal that commands draw tables and progress on."""

from __future__ import annotations

from rich.console import Console

FILE_WIDTH = 200
"""Characters a line where output goes to a file or a pipe, whatever COLUMNS says."""
NARROWEST = 40


def console(stderr: bool = False) -> Console:
    """A console of stdout or stderr that is wide enough for a table."""
    made = Console(stderr=stderr)
    if not made.is_terminal:
        return Console(stderr=stderr, width=FILE_WIDTH)
    return made if made.width >= NARROWEST else Console(stderr=stderr, width=NARROWEST)
