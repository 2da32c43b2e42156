"""Which claims are meant, and how each of them is checked under a profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache

from benchmarks.papers.cautions import INCONSISTENT, NOT_RUN
from benchmarks.papers.claims import EXACT, ON_HARDWARE, Claim, read_claims
from benchmarks.papers.differences import differences
from benchmarks.papers.paper import paper_of
from benchmarks.papers.routes import PAPER, Counted, Excluded, Route, Setting, Trained
from methods.base import METHODS
from tasks.base import TASKS
from tasks.errors import UserError, did_you_mean, unknown_name

MATCHED = ("dataset", "arch", "method", "variant", "metric")
"""Columns of a claim that ``--row`` looks at."""


def select_claims(paper: str, table: str | None = None, rows: Sequence[str] = ()) -> list[Claim]:
    """The claims of a paper's table.

    Args:
        paper: a name of :func:`benchmarks.papers.claims.papers`.
        table: as the claims file has it, whatever its case; None for all.
        rows: patterns with ``*`` and ``?``, whatever their case. A claim is meant if each of them
            matches the whole of one of its columns ``MATCHED``.

    Raises:
        UserError: no such paper or table, or nothing matches.
    """
    claims = read_claims([paper])
    if table is not None:
        tables = list(dict.fromkeys(claim.table for claim in claims))
        meant = next((known for known in tables if known.lower() == table.lower()), None)
        if meant is None:
            raise unknown_name(f"table of {paper}", table, tables)
        claims = [claim for claim in claims if claim.table == meant]
    for pattern in rows:
        found = [claim for claim in claims if _matches(claim, pattern)]
        if not found:
            raise _no_match(claims, pattern, paper)
        claims = found
    return claims


def _matches(claim: Claim, pattern: str) -> bool:
    return any(fnmatchcase(cell, pattern.lower()) for cell in _cells(claim))


def _cells(claim: Claim) -> list[str]:
    return [getattr(claim, column).lower() for column in MATCHED]


def _no_match(claims: Sequence[Claim], pattern: str, paper: str) -> UserError:
    known = {cell for claim in claims for cell in _cells(claim)}
    hint = did_you_mean(pattern.lower(), sorted(known))
    return UserError(
        f"no row of {paper} matches '{pattern}'{hint}: give the whole of a row's "
        f"{', '.join(MATCHED[:-1])} or {MATCHED[-1]}, with * for what may be anything"
    )


def route(claim: Claim, setting: Setting) -> Route:
    """How a claim is checked.

    A claim that cannot be taken at its word is run only where its paper's figures exclude each
    other: then what is measured stands beside them.
    """
    if claim.metric in EXACT:
        return Counted()
    paper = paper_of(claim.paper)
    warning = paper.caution(claim)
    if warning is not None and warning.verdict != INCONSISTENT:
        return Excluded(warning.verdict, warning.reason)
    tasks, methods = _known()
    if claim.task not in tasks:
        return Excluded(NOT_RUN, f"the task {claim.task} is not in the project")
    if paper.method(claim) not in methods:
        return Excluded(NOT_RUN, f"method not in the project: {claim.method}")
    found = paper.route(claim, setting)
    if isinstance(found, Excluded) or setting.profile == PAPER:
        return found
    published = paper.route(claim, replace(setting, profile=PAPER))
    assert isinstance(published, Trained)
    changes = differences(published.spec, found.spec)
    reduced = f"the {setting.profile} profile has {'; '.join(changes)}"
    return replace(found, changes=(reduced, *found.changes), remarks=())


@cache
def _known() -> tuple[frozenset[str], frozenset[str]]:
    """Names of tasks and methods: looking for them takes a while, and claims are many."""
    return frozenset(TASKS.names()), frozenset(METHODS.names())


def on_hardware(claim: Claim) -> bool:
    """Whether a claim is of a certain machine."""
    return claim.metric in ON_HARDWARE
