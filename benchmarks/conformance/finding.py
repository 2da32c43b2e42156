"""What one check saw."""

from __future__ import annotations

from dataclasses import dataclass

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True)
class Finding:
    """A status, one sentence of what was seen and, after a failure, how to fix it."""

    status: str
    seen: str
    fix: str = ""
    check: str = ""
    traceback: str = ""


def passed(seen: str) -> Finding:
    """All is as it should be."""
    return Finding(PASSED, seen)


def failed(seen: str, fix: str) -> Finding:
    """Something is not, and this is what to do."""
    return Finding(FAILED, seen, fix)


def skipped(seen: str) -> Finding:
    """The question could not be asked, and this is why."""
    return Finding(SKIPPED, seen)


def some(names: list[str], most: int = 3) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
