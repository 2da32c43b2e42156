"""The verdict on a repetition, as a mapping and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.analysis.agreement import (
    COUNTED,
    MEASURED,
    SEEDED,
    Compared,
    disagreements,
    measured_ratios,
)
from benchmarks.records.identity.origin import KERNELS, Change
from benchmarks.report.card.layout import number

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
        compared: of :func:`benchmarks.analysis.agreement.compare_runs`.
        changed: what the repetition was made of that the run was not.
        doubts: what is wrong with the run's own files, a sentence each; any makes it differ.
        exactly: whether bit by bit equality was requested.
        points: the tolerance in % where it was not.
        basis: what tolerances that each metric has of its own are made of.
    """
    wrong = disagreements(compared)
    kinds = {kind: [each for each in compared if each.kind == kind] for kind in (COUNTED, SEEDED)}
    within = f"what {basis} allow" if basis else f"{points:g} points"
    sentence = "; ".join(doubts)
    if not doubts:
        sentence = _difference(wrong, changed, exactly) or _agreement(compared, changed, within)
    return {
        "verdict": DIFFER if wrong or doubts else AGREE,
        "sentence": f"The run and its repetition {'differ: ' * bool(doubts)}{sentence}.",
        "bit_by_bit": exactly,
        "tolerance_points": None if basis else points,
        "tolerance_basis": basis or None,
        "changed": [{**change.as_dict(), "told": str(change)} for change in changed],
        "doubts": list(doubts),
        **{
            kind: {"equal": sum(each.equal for each in found), "of": len(found)}
            for kind, found in kinds.items()
        },
        "differing": [each.as_dict() for each in wrong],
        "unequal": [each.as_dict() for found in kinds.values() for each in found if not each.equal],
        "measured": measured_ratios(compared),
    }


def verdict_lines(found: Mapping[str, Any]) -> list[str]:
    """The verdict as lines: counts, differences, ratios, and the sentence last."""
    lines = [f"other kernels: {c['told']}" for c in found["changed"] if c["kind"] == KERNELS]
    how = f"metrics in % may differ by {found['tolerance_points']}"
    if found["tolerance_basis"]:
        how = f"metrics in % may differ by what {found['tolerance_basis']} allow"
    if found["bit_by_bit"]:
        how = "must be equal bit by bit"
    for kind, words in (
        (COUNTED, "counted (parameters, operations), must be equal"),
        (SEEDED, f"seeded (accuracy, curve), {how}"),
    ):
        lines.append(f"{words}: {found[kind]['equal']} of {found[kind]['of']} are equal")
    shown = found["differing"] or found["unequal"]
    lines += [f"  {_line(each)}" for each in shown[:_SHOWN]]
    if len(shown) > _SHOWN:
        lines.append(f"  and {len(shown) - _SHOWN} more, see --json")
    lines.append("measured, for information, as repetition / run:")
    for group in found["measured"]:
        out, of = group["of"] - group["within"], group["of"]
        lines.append(
            f"  {group['kind']}: {number(group['ratio'])} in the geometric mean, "
            f"{number(group['lowest'])} to {number(group['highest'])}; "
            f"{f'{out} of {of} differ' if out else f'none of {of} differs'} by more than "
            f"{group['tolerance']:.0%}"
        )
    if not found["measured"]:
        lines.append("  nothing was measured in both")
    return [*lines, found["sentence"]]


def _difference(wrong: Sequence[Compared], changed: Sequence[Change], exactly: bool) -> str:
    """In what they differ, and why; empty where they do not."""
    if not wrong:
        return ""
    rest = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    why = _because(changed)
    if exactly:
        why = (
            " though code, data, versions, device and kernels are the same: training is not "
            "deterministic here, or the run's numbers were changed"
        )
    elif wrong[0].allowed is not None:
        why = f", more than the {wrong[0].allowed:.2g} points that are allowed{why}"
    return f"differ in {_line(wrong[0].as_dict())}{rest}{why}"


def _agreement(compared: Sequence[Compared], changed: Sequence[Change], within: str) -> str:
    """How well they agree, and where least."""
    because = _because(changed)
    unequal = [each for each in compared if each.kind != MEASURED and not each.equal]
    if not unequal:
        return f"agree bit by bit{because}"
    text = f"agree within {within}{because}: equal bits are not expected"
    shares = {
        abs(each.after - each.before) / each.allowed: each
        for each in unequal
        if each.allowed and each.before is not None and each.after is not None
    }
    if not shares:
        return text
    farthest = shares[max(shares)]
    return (
        f"{text}, and the farthest is {_line(farthest.as_dict())}, where {farthest.allowed:.2g} "
        "points are allowed"
    )


def _because(changed: Sequence[Change]) -> str:
    """`` (device, kernels changed)``; empty where nothing did."""
    known = dict.fromkeys(
        change.kind
        for change in changed
        if change.kind != KERNELS or (change.before is not None and change.now is not None)
    )
    parts = [f"{', '.join(known)} changed"] if known else []
    if {change.kind for change in changed} - set(known):
        parts.append("not all kernels of both are recorded")
    return f" ({'; '.join(parts)})" if parts else ""


def _line(each: Mapping[str, Any]) -> str:
    name = f"{each['metric']} ({', '.join(filter(None, [each['phase'], each['variant']]))})"
    if each["only"]:
        return (
            f"{name}, which only {'the run' if each['only'] == 'before' else 'the repetition'} has"
        )
    before, after = ("none" if each[key] is None else each[key] for key in ("before", "after"))
    return f"{name}: {before} -> {after}"
