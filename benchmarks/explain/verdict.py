"""The verdict on a repetition, as a mapping and as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.explain.agreement import (
    COUNTED,
    MEASURED,
    SEEDED,
    USUAL,
    Compared,
    disagreements,
)
from benchmarks.explain.plot import number
from benchmarks.origin import KERNELS, Change

AGREE, DIFFER = "agree", "differ"
_SHOWN = 8


def verdict(
    compared: Sequence[Compared],
    changed: Sequence[Change],
    doubts: Sequence[str],
    exactly: bool,
    points: float,
    basis: str = "",
) -> dict[str, Any]:
    """What came of a repetition.

    Args:
        compared: of :func:`benchmarks.explain.agreement.compare_runs`.
        changed: what the repetition was made of that the run was not.
        doubts: what is wrong with the run's own files, a sentence each; any makes it differ.
        exactly: whether bit by bit equality was asked for.
        points: the tolerance in % where it was not.
        basis: what tolerances that each metric has of its own are made of.
    """
    wrong = disagreements(compared)
    kinds = {kind: [each for each in compared if each.kind == kind] for kind in (COUNTED, SEEDED)}
    numbers = {
        kind: {"equal": sum(each.equal for each in found), "of": len(found)}
        for kind, found in kinds.items()
    }
    return {
        "verdict": DIFFER if wrong or doubts else AGREE,
        "sentence": _sentence(
            compared,
            changed,
            doubts,
            exactly,
            f"what {basis} allow" if basis else f"{points:g} points",
        ),
        "bit_by_bit": exactly,
        "tolerance_points": None if basis else points,
        "tolerance_basis": basis or None,
        "changed": [{**change.as_dict(), "told": str(change)} for change in changed],
        "doubts": list(doubts),
        **numbers,
        "differing": [each.as_dict() for each in wrong],
        "unequal": [each.as_dict() for found in kinds.values() for each in found if not each.equal],
        "measured": _measured(compared),
    }


def verdict_lines(told: Mapping[str, Any]) -> list[str]:
    """The verdict as lines: counts, differences, ratios, and the sentence last."""
    lines = [
        f"other kernels: {change['told']}"
        for change in told["changed"]
        if change["kind"] == KERNELS
    ]
    for kind, words in (
        (COUNTED, "counted (parameters, operations), must be equal"),
        (SEEDED, "seeded (accuracy, curve), " + _asked(told)),
    ):
        lines.append(f"{words}: {told[kind]['equal']} of {told[kind]['of']} are equal")
    shown = told["differing"] or told["unequal"]
    for each in shown[:_SHOWN]:
        lines.append(f"  {_line(each)}")
    if len(shown) > _SHOWN:
        lines.append(f"  and {len(shown) - _SHOWN} more, see --json")
    lines.append("measured, for information, as repetition / run:")
    for group in told["measured"]:
        out = group["of"] - group["within"]
        lines.append(
            f"  {group['kind']}: {number(group['ratio'])} in the geometric mean, "
            f"{number(group['lowest'])} to {number(group['highest'])}; "
            + (f"{out} of {group['of']} differ" if out else f"none of {group['of']} differs")
            + f" by more than {group['tolerance']:.0%}"
        )
    if not told["measured"]:
        lines.append("  nothing was measured in both")
    return [*lines, told["sentence"]]


def _asked(told: Mapping[str, Any]) -> str:
    if told["bit_by_bit"]:
        return "must be equal bit by bit"
    if told["tolerance_basis"]:
        return f"metrics in % may differ by what {told['tolerance_basis']} allow"
    return f"metrics in % may differ by {told['tolerance_points']:g}"


def _sentence(
    compared: Sequence[Compared],
    changed: Sequence[Change],
    doubts: Sequence[str],
    exactly: bool,
    within: str,
) -> str:
    if doubts:
        return f"The run and its repetition differ: {'; '.join(doubts)}."
    because = _because(changed)
    wrong = disagreements(compared)
    if wrong:
        first = _line(wrong[0].as_dict())
        rest = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        whose = because
        if exactly:
            whose = (
                " though code, data, versions, device and kernels are the same: training is not "
                "deterministic here, or the run's numbers were changed"
            )
        elif wrong[0].allowed is not None:
            whose = f", more than the {wrong[0].allowed:.2g} points that are allowed{because}"
        return f"The run and its repetition differ in {first}{rest}{whose}."
    unequal = [each for each in compared if each.kind != MEASURED and not each.equal]
    if not unequal:
        return f"The run and its repetition agree bit by bit{because}."
    text = f"The run and its repetition agree within {within}{because}: equal bits are not expected"
    farthest = max(unequal, key=_share_of_allowed)
    if not _share_of_allowed(farthest):
        return f"{text}."
    return (
        f"{text}, and the farthest is {_line(farthest.as_dict())}, where "
        f"{farthest.allowed:.2g} points are allowed."
    )


def _because(changed: Sequence[Change]) -> str:
    """`` (device, kernels changed)``; empty where nothing did."""
    kinds: dict[str, None] = {}
    unknown: dict[str, None] = {}
    for change in changed:
        known = change.kind != KERNELS or (change.before is not None and change.now is not None)
        (kinds if known else unknown)[change.kind] = None
    parts = [f"{', '.join(kinds)} changed"] if kinds else []
    if set(unknown) - set(kinds):
        parts.append("not all kernels of both are recorded")
    return f" ({'; '.join(parts)})" if parts else ""


def _share_of_allowed(each: Compared) -> float:
    """The difference as a share of what is allowed; 0 where no difference is."""
    if not each.allowed or each.before is None or each.after is None:
        return 0.0
    return abs(each.after - each.before) / each.allowed


def _measured(compared: Sequence[Compared]) -> list[dict[str, Any]]:
    """Ratios of what was measured in both, by what it is."""
    groups: dict[str, list[tuple[Compared, float]]] = {}
    for each in compared:
        ratio = each.ratio
        if each.kind == MEASURED and ratio is not None and ratio > 0:
            groups.setdefault(_group(each.unit), []).append((each, ratio))
    found = []
    for kind, pairs in groups.items():
        ratios = [ratio for _, ratio in pairs]
        found.append(
            {
                "kind": kind,
                "ratio": math.exp(math.fsum(map(math.log, ratios)) / len(ratios)),
                "lowest": min(ratios),
                "highest": max(ratios),
                "within": sum(each.agrees for each, _ in pairs),
                "of": len(pairs),
                "tolerance": USUAL.get(pairs[0][0].unit, USUAL[""]),
                "numbers": [{**each.as_dict(), "ratio": ratio} for each, ratio in pairs],
            }
        )
    return found


def _group(unit: str) -> str:
    names = {"s": "times", "B": "memory", "J": "energy", "J/image": "energy", "images/s": "speed"}
    return names.get(unit, f"values in {unit}" if unit else "other values")


def _line(each: Mapping[str, Any]) -> str:
    where = ", ".join(filter(None, [each["phase"], each["variant"]]))
    name = f"{each['metric']} ({where})"
    if each["only"]:
        has = "the run" if each["only"] == "before" else "the repetition"
        return f"{name}, which only {has} has"
    before, after = (_value(each[key]) for key in ("before", "after"))
    return f"{name}: {before} -> {after}"


def _value(value: float | None) -> str:
    return "none" if value is None else repr(value)
