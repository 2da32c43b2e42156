"""Whether results got worse than a reference, beyond noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from benchmarks.analysis.columns import TRAINING, Column
from benchmarks.analysis.compare.reading import USUAL
from benchmarks.analysis.compare.reference import KEPT, Entry, Key, Method, Reference
from benchmarks.analysis.compare.sizes import Size
from benchmarks.analysis.compare.verdicts import NOT_JUDGED, WORSE, Verdict, is_counted, verdict_on
from benchmarks.analysis.statistics.independent import EXACT, independent_effect
from benchmarks.analysis.summary import seeds_named
from benchmarks.records.row import metric_info
from tasks.errors import UserError, unknown_name

NO_WORSE = "not worse"
FAILED, VANISHED, NEW = "failed", "vanished", "new"
NOT_COMPARABLE = "not comparable"
FAILURES = frozenset((WORSE, FAILED, VANISHED))
UNJUDGED = frozenset((NOT_COMPARABLE, NOT_JUDGED))

TOLERANCE = "tolerance"
"""The test of single runs: whether they differ by more than the size that was given."""

_TIMED_UNITS = ("s", "J", "images/s")
_CHOSEN = ("val", "val_best", "test_best")
"""Phases that are not judged by default: validation chooses, and the best epoch follows from it."""


@dataclass(frozen=True)
class Check:
    """One quantity held against the reference, or one method or network that is not there.

    Attributes:
        key: which; metric and phase are empty where a whole method or network is meant.
        word: one of those in this module.
        before: the reference; None of what is new.
        after: the results; None of what vanished.
        tested: what the test shows; None where nothing was tested.
        p_adjusted: its p-value, adjusted for the number of tests; None where it has none.
        reason: why there is no test, or what failed.
    """

    key: Key
    word: str
    before: Entry | None = None
    after: Entry | None = None
    tested: Verdict | None = None
    p_adjusted: float | None = None
    reason: str = ""

    @property
    def worsening(self) -> float | None:
        """Difference of the means in the metric's unit, positive where it got worse."""
        if self.tested is None or self.before is None or self.after is None:
            return None
        change = fmean(self.after.values.values()) - fmean(self.before.values.values())
        return change if self.key.column.info.better == "lower" else -change

    def as_dict(self) -> dict[str, Any]:
        """The check as a mapping that JSON can hold; ``confidence`` is 1 - ``p_adjusted``."""
        sides = {
            side: None if entry is None else {str(seed): v for seed, v in entry.values.items()}
            for side, entry in (("before", self.before), ("after", self.after))
        }
        tested, p_adjusted = self.tested, self.p_adjusted
        return {
            **self.key._asdict(),
            "verdict": self.word,
            **sides,
            "worsening": self.worsening,
            "test": "" if tested is None else tested.test,
            "p": None if tested is None else tested.p_value,
            "p_adjusted": p_adjusted,
            "confidence": None if p_adjusted is None else 1 - p_adjusted,
            "reason": self.reason,
        }


def columns_judged(metrics: Sequence[str], *sides: Reference) -> list[Column]:
    """The columns that were requested, else the usual ones that have a better direction.

    Raises:
        UserError: a metric is unknown, measured nowhere, or has no better direction.
    """
    present = dict.fromkeys(key.column for side in sides for key in side.entries)
    if not metrics:
        return [
            column
            for column in present
            if column.metric in USUAL and column.phase not in _CHOSEN and column.info.better
        ]
    found = []
    for name in metrics:
        metric, _, phase = name.partition(":")
        info = metric_info(metric)
        if not info.better:
            raise UserError(f"{metric} has no better direction and cannot get worse: leave it out")
        phases = [column.phase for column in present if column.metric == metric]
        order = [phase] if phase else ["test", "inference", "setup", TRAINING, *phases]
        chosen = next((phase for phase in order if phase in phases), None)
        if chosen is None:
            raise unknown_name(
                "metric in the results and the reference", name, {c.key for c in present}
            )
        found.append(Column(metric, chosen))
    return list(dict.fromkeys(found))


def judge(
    before: Reference,
    after: Reference,
    columns: Sequence[Column],
    alpha: float = 0.05,
    smallest: Mapping[str, Size] | None = None,
) -> list[Check]:
    """Hold results against the reference of their suites.

    Each quantity is judged by :func:`.verdicts.verdict_on`, tested one-sided by
    :func:`.independent_effect`; p-values are adjusted for their number.

    Args:
        before: the reference; what it holds of other suites is left aside.
        after: the results.
        columns: what is judged.
        alpha: the chance to fail a change that made nothing worse.
        smallest: worsenings that do not count, by metric.

    Returns:
        Checks, those that fail the gate first.

    Raises:
        UserError: the reference has none of the suites.
    """
    if not before.suites & after.suites:
        raise UserError(
            f"the reference has the suites {_names(before.suites) or 'of nothing'}, and not "
            f"{_names(after.suites)}: name another reference, or add to it with --write"
        )
    old = {k: e for k, e in before.entries.items() if k.suite in after.suites}
    new = after.entries
    checks = list(_presence(old, new, after.failed))
    both = _networks(old, False) & _networks(new, False)
    for key in sorted(old.keys() | new.keys()):
        if key.column in columns and _network(key) in both:
            checks += _check(key, old.get(key), new.get(key), alpha, smallest or {})
    return sorted(_adjusted(checks, alpha), key=lambda check: check.word not in FAILURES)


def _network(key: Key) -> Key:
    return key._replace(phase="", metric="")


def _networks(entries: Mapping[Key, Entry], measured: bool) -> set[Key]:
    """Networks that have entries or even values; and their methods, whose variant is empty."""
    found = {_network(key) for key, entry in entries.items() if entry.values or not measured}
    return found | {key._replace(variant="") for key in found}


def _presence(
    old: Mapping[Key, Entry],
    new: Mapping[Key, Entry],
    failed: Mapping[Method, Mapping[int, str]],
) -> Iterator[Check]:
    """Methods that failed; methods and networks that vanished or are new, each once."""
    failures = {
        Key(suite, task, dataset, arch, method, "", "", ""): _failure(seeds)
        for (suite, task, dataset, arch, method), seeds in failed.items()
    }
    # What is there but could not be measured has a reason of its own, which its metrics tell.
    before, after = _networks(old, True), _networks(new, False)
    known, arrived = _networks(old, False), _networks(new, True)
    for key in sorted(before | arrived | failures.keys()):
        method = key._replace(variant="")
        if key in failures:
            # Of a method that the reference does not know, nothing got worse.
            yield Check(key, FAILED if key in known else NEW, reason=failures[key])
        elif key in before and key not in after and (key == method or method in after):
            yield Check(key, VANISHED, reason="the reference has it, and these results do not")
        elif key in arrived and key not in known and (key == method or method in known):
            yield Check(key, NEW, reason="the reference does not have it")


def _failure(seeds: Mapping[int, str]) -> str:
    by_reason: dict[str, list[int]] = {}
    for seed, reason in sorted(seeds.items()):
        by_reason.setdefault(reason, []).append(seed)
    return "; ".join(f"{seeds_named(of)}: {reason}" for reason, of in by_reason.items())


def _check(
    key: Key,
    before: Entry | None,
    after: Entry | None,
    alpha: float,
    smallest: Mapping[str, Size],
) -> Iterator[Check]:
    """One quantity; nothing where neither side could measure it."""
    if before is None or not before.values:
        if after is not None and after.values:
            yield Check(key, NEW, before, after, reason="the reference has no value of it")
        return
    other_hardware = after is not None and _differing(before, after, ("hardware",))
    if other_hardware and _of_hardware(key.column):
        yield Check(key, NOT_COMPARABLE, before, after, reason=other_hardware)
        return
    if after is None or not after.values:
        reason = after.reason if after is not None and after.reason else "it is not measured"
        yield Check(key, VANISHED, before, after, reason=reason)
        return
    differing = _differing(before, after, [kind for kind in KEPT if kind != "hardware"])
    if differing:
        yield Check(key, NOT_COMPARABLE, before, after, reason=differing)
        return
    busy = _busy(before, after)
    if busy:
        yield Check(key, NOT_JUDGED, before, after, reason=busy)
        return
    old, new = list(before.values.values()), list(after.values.values())
    size = smallest.get(key.metric)
    lower = key.column.info.better == "lower"
    effect = independent_effect(new, old, "greater" if lower else "less")
    if not effect.test and not is_counted(new, old, key.column):
        if old != new and not (size and size.amount):
            reason = f"{effect.reason}: run more seeds, or give --smallest"
            yield Check(key, NOT_JUDGED, before, after, reason=reason)
            return
        effect = replace(effect, test=EXACT if old == new else TOLERANCE)
    tested = verdict_on(new, old, key.column, effect, size, alpha)
    yield Check(key, WORSE if tested.word == WORSE else NO_WORSE, before, after, tested)


def _of_hardware(column: Column) -> bool:
    """Whether the values depend on what they were measured on: time, energy, peak memory."""
    return column.info.unit in _TIMED_UNITS or column.metric.startswith("mem_peak")


def _busy(before: Entry, after: Entry) -> str:
    """Why values that were measured while others held the cores are not judged, or empty."""
    sides = (("before", before), ("now", after))
    busy = [f"{when} on a {entry.busy}" for when, entry in sides if entry.busy]
    return f"measured {' and '.join(busy)}: run again" if busy else ""


def _differing(before: Entry, after: Entry, kinds: Iterable[str]) -> str:
    """What differs, in words; empty where nothing does."""
    return "; ".join(
        f"other {kind}: {getattr(before.conditions, kind)} before, "
        f"{getattr(after.conditions, kind)} now"
        for kind in kinds
        if getattr(before.conditions, kind) != getattr(after.conditions, kind)
    )


def _adjusted(checks: Sequence[Check], alpha: float) -> list[Check]:
    """The checks with their p-values adjusted; worse is what still is at most alpha.

    Where all hypotheses are true, the chance to reject any is at most alpha; of several rejections
    on average a share of at most alpha is wrong (Benjamini and Hochberg 1995). This holds for
    independent tests and for those that rise and fall together.
    """
    tested = [i for i, c in enumerate(checks) if c.tested and c.tested.p_value is not None]
    found = list(checks)
    if not tested:
        return found
    from scipy import stats

    p_values = [c.tested.p_value for c in (checks[i] for i in tested) if c.tested]
    adjusted = stats.false_discovery_control(p_values).tolist()
    for i, p_adjusted in zip(tested, adjusted, strict=True):
        worse = checks[i].word == WORSE and p_adjusted <= alpha
        found[i] = replace(checks[i], word=WORSE if worse else NO_WORSE, p_adjusted=p_adjusted)
    return found


def _names(suites: Iterable[str]) -> str:
    return ", ".join(sorted(suites))
