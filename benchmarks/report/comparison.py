"""Comparisons as tables of text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from benchmarks.analysis.columns import Column
from benchmarks.analysis.compare.comparing import Compared
from benchmarks.analysis.compare.conditions import Conditions, Placed
from benchmarks.analysis.compare.pairs import Comparison
from benchmarks.analysis.compare.tasks import Overview
from benchmarks.analysis.compare.verdicts import ALPHA, COUNT, NO_PAIR, NOT_SHOWN
from benchmarks.analysis.statistics.power import MOST_SEEDS
from benchmarks.analysis.statistics.samples import Interval
from benchmarks.records.row import BUSY
from benchmarks.report.comparison_layout import aligned
from benchmarks.report.layout import MISSING, decimals, failure, heading, title_of

MINUS = "\N{MINUS SIGN}"
_SETTINGS_SHOWN = 6
_FOLLOWED = ("hardware", "precision", "profile", "budget")


class Block(NamedTuple):
    """The comparisons of one task, data set and architecture, and its runs."""

    comparisons: Sequence[Comparison]
    runs: Sequence[Placed]


def document(found: Compared) -> dict[str, Any]:
    """All that was found, as a mapping that JSON can hold."""
    return {
        "baseline": str(found.baseline),
        "comparisons": [each.as_dict() for each in found.comparisons],
        "ranks": [overview.as_dict() for overview in found.overviews],
        "failed": failed(found),
        "notes": notes(found),
    }


def failed(found: Compared) -> list[str]:
    """A sentence for each way in which runs failed."""
    return [failure(*which, seeds) for which, seeds in found.failed.items()]


def notes(found: Compared) -> list[str]:
    """Sentences on what differs though it was allowed, and on what is missing."""
    return [
        *found.notes,
        *(f"{title_of(c)}: not ranked, measured on a {BUSY}" for c in found.unranked),
        *(f"{title_of(c)}: not measured ({why})" for c, why in found.unmeasured.items()),
    ]


def show(block: Block) -> str:
    """A heading and a table with a line a comparison."""
    marked: dict[str, int] = {}
    lines, last = [], None
    for each in block.comparisons:
        name = "" if each.column == last else heading(each.column)
        last = each.column
        marks = "".join(
            f" [{marked.setdefault(reason, len(marked) + 1)}]"
            for reason in filter(None, (each.verdict.reason, *each.reasons))
        )
        lines.append([name, *_cells(each), _verdict(each) + marks])
    title = f"{_title(block)}\n"
    headings = ["metric", "method", "variant", "n", "mean", "baseline"]
    headings += ["difference or ratio, 95 % interval", "p", "verdict"]
    table = aligned(headings, lines, right=("n", "mean", "baseline", "p"))
    footnotes = [f"[{number}] {note}" for note, number in marked.items()]
    return "\n".join([title, table, *footnotes]) + "\n"


def closing(comparisons: Sequence[Comparison]) -> str:
    """How the p values are meant, and how many chance alone would make small."""
    tested = [each for each in comparisons if each.verdict.p_value is not None]
    if not tested:
        return ""
    count = ALPHA * len(tested)
    by_chance = f"{count:.1f}" if count < 10 else f"{count:.0f}"
    return (
        "p: two-sided paired t test over seeds, of the logarithms where a ratio is shown; not "
        f"corrected for their number: of {len(tested)} tests about {by_chance} would "
        f"reach {ALPHA:g} by chance alone."
    )


def show_overview(overview: Overview) -> str:
    """Mean ranks over tasks, and the score of a cost."""
    settings = ["/".join(filter(None, setting[1:])) for setting in overview.settings]
    shown = ", ".join(settings[:_SETTINGS_SHOWN]) + ", ..." * (len(settings) > _SETTINGS_SHOWN)
    what = " or ".join(dict.fromkeys(title_of(column) for column in overview.columns))
    headings = ["method", "variant", "mean rank"] + ["profile score"] * bool(overview.scores)
    lines = [
        [*network, f"{rank:.2f}"]
        for network, rank in zip(overview.networks, overview.mean_ranks, strict=True)
    ]
    if overview.scores:
        lines = [[*line, f"{s:.3f}"] for line, s in zip(lines, overview.scores, strict=True)]
    table = aligned(headings, lines, right=headings[2:])
    tail = (
        "Too few tasks or methods to test the ranks."
        if overview.p_value is None
        else f"Friedman's test: p = {show_p(overview.p_value)}; mean ranks that differ by less "
        f"than {overview.critical_difference:.2f} are not significantly different (Nemenyi)."
    )
    return f"{what}, ranked over {len(settings)} tasks ({shown})\n\n{table}\n{tail}\n"


def show_p(p_value: float) -> str:
    """``0.034``, or ``<0.001``."""
    return "<0.001" if p_value < 0.001 else f"{p_value:.2g}" if p_value < 0.1 else f"{p_value:.2f}"


def number(value: float | None, column: Column, like: float | None = None) -> str:
    """A value in the unit of tables, with the digits that ``like`` would be shown with."""
    if value is None:
        return MISSING
    scale = column.info.scale
    digits = decimals((value if like is None else like) / scale, column)
    return f"{value / scale:.{digits}f}"


def signed(value: float, column: Column, like: float) -> str:
    """``+0.18``, in the unit of tables."""
    text = number(abs(value), column, like)
    if not float(text):
        return text
    return (MINUS if value < 0 else "+") + text


def times(ratio: float) -> str:
    """``0.778``, with as many digits as it takes to tell it from 1."""
    digits = 3 if ratio == 1 else max(3, -math.floor(math.log10(abs(ratio - 1))))
    return f"{ratio:.{min(digits, 9)}f}"


def _title(block: Block) -> str:
    """What the runs have in common, and what was allowed to differ."""
    first = block.comparisons[0]
    network = first.network
    parts = [", ".join(filter(None, (network.dataset, network.arch)))]
    parts.append(f"seeds {', '.join(map(str, sorted({p.run.seed for p in block.runs})))}")
    finished = [placed.conditions for placed in block.runs if not placed.failed]
    for kind in _FOLLOWED:
        kinds = " and ".join(_distinct(finished, kind))
        parts.append(f"profile {kinds}" if kind == "profile" else kinds)
    return "; ".join([*filter(None, parts), f"compared with {first.baseline.method}"])


def _distinct(conditions: Iterable[Conditions], kind: str) -> list[str]:
    return list(dict.fromkeys(getattr(each, kind) for each in conditions))


def _cells(each: Comparison) -> list[str]:
    p_value = each.verdict.p_value
    return [
        each.network.method,
        each.network.variant,
        str(len(each.seeds)),
        number(each.mean, each.column, each.baseline_mean),
        number(each.baseline_mean, each.column),
        _effect(each),
        MISSING if p_value is None else show_p(p_value),
    ]


def _effect(each: Comparison) -> str:
    """The ratio of a cost, else the difference, with the interval where there is a deviation."""
    difference, like = each.difference, each.baseline_mean
    if difference is None or like is None or each.verdict.word == NO_PAIR:
        return MISSING
    if each.ratio is not None:
        interval = None if each.ratio.logs.constant else each.ratio.t_interval
        return f"{times(each.ratio.mean)}×" + _interval(interval, map(times, _ends(interval)))
    interval = None if difference.constant else difference.t_interval
    shown = [signed(value, each.column, like) for value in (difference.mean, *_ends(interval))]
    return shown[0] + _interval(interval, shown[1:])


def _ends(interval: Interval | None) -> tuple[float, ...]:
    return () if interval is None else (interval.low, interval.high)


def _interval(interval: Interval | None, ends: Iterable[str]) -> str:
    return "" if interval is None else f" ({' to '.join(ends)})"


def _verdict(each: Comparison) -> str:
    verdict = each.verdict
    if verdict.word == NOT_SHOWN:
        more = verdict.more_seeds
        if more is None:
            return f"{verdict.word}; {MOST_SEEDS} seeds would not do"
        return f"{verdict.word}; {more} more seed{'s' * (more > 1)} might do"
    return f"{verdict.word} (exact)" if verdict.test == COUNT != verdict.word else verdict.word
