"""The one exception that a user is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input or a missing resource, as one sentence that says what to do.

    The command line prints the message without a traceback and exits with a non-zero code.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that no registry, option list or schema holds."""
    known = sorted(known)
    hint = did_you_mean(name, known)
    return UserError(f"unknown {kind} '{name}'{hint}; known: {', '.join(known)}")
