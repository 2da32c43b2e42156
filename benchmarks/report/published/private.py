"""What must not become public with results: secrets, and who measured on which machine."""

from __future__ import annotations

import getpass
import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

REDACTED = "<redacted>"
_SECRET = (
    r"(?:token|secret|password|passwd|passphrase|credentials?|(?:api|access|private|auth)_?key)"
)
_QUOTE = r"(\\?\"|\"\"|'|)"
"""As a text, JSON in it, or a cell of CSV has them."""
_NAMED = re.compile(
    rf"(?i)\b((?:[a-z0-9]+[_-])*{_SECRET}(?:\\?\"|\"\"|')?\s*[=:]\s*)"
    rf"(?:{_QUOTE}([^\"'\\\n]+)\2(?<=[\"'])|([^\s,;\"'<>)}}\]\\]+))"
)
"""``api_key=...``, ``"hf_token": "..."``: the name and what stands behind it, the value."""
_PLAIN = re.compile(r"(?i)-?[\d.]+(e[+-]?\d+)?|true|false|null|none|<redacted>")
"""Values that are no secret."""
_SHAPES = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{20,}|sk-[\w-]{20,}"
    r"|xox[abprs]-[\w-]{10,}|AKIA[A-Z0-9]{16}|AIza[\w-]{30,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})"
)
"""Tokens that tell what they are by how they begin."""
_USER_OF_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@\"'<>]+@", re.IGNORECASE)
_HOMES = re.compile(r"(?:/home|/Users)/[^/\s\"',;:()<>]+")
_COMMON = frozenset({"root", "user", "runner", "admin", "ubuntu", "localhost", "docker", "data"})
"""Names of users and hosts that say nothing of anybody, and are words of other meanings."""


class Redactor:
    """Takes private texts out of what is published.

    Args:
        environ: whose secrets are looked for by value; None for this process's.
        home: of the user; None for this one's.
        names: of user and host; None for those of this machine.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        home: str | None = None,
        names: Iterable[str] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        secret = re.compile(rf"(?i)(^|_){_SECRET}s?($|_)|_key$")
        self._values = sorted(
            (value for name, value in environ.items() if secret.search(name) and len(value) > 7),
            key=len,
            reverse=True,
        )
        self._home = (str(Path.home()) if home is None else home).rstrip("/")
        names = _own_names() if names is None else names
        known = [re.escape(name) for name in names if len(name) > 3 and name not in _COMMON]
        self._names = re.compile(rf"\b(?:{'|'.join(known)})\b") if known else None

    def text(self, text: str) -> str:
        """The text without what is private."""
        for value in self._values:
            text = text.replace(value, REDACTED)
        text = _USER_OF_ADDRESS.sub(rf"\1{REDACTED}@", text)
        text = _NAMED.sub(_without_value, text)
        text = _SHAPES.sub(REDACTED, text)
        if self._home:
            text = re.sub(rf"{re.escape(self._home)}(?=[/\s\"',;:)]|$)", "~", text)
        text = _HOMES.sub("~", text)
        return text if self._names is None else self._names.sub(REDACTED, text)


def _without_value(found: re.Match[str]) -> str:
    name, quote, quoted, bare = found.groups()
    if _PLAIN.fullmatch(quoted or bare):
        return found[0]
    return f"{name}{quote or ''}{REDACTED}{quote or ''}"


def _own_names() -> list[str]:
    host = platform.node()
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for its user
        user = ""
    return [user, host, host.partition(".")[0]]
