"""What methods did outside the budget, or left of it, in sentences for tables and comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import fmean

from benchmarks.records.row import Row

WORTH_SAYING = 0.05
"""Share of the training time from which on time outside the budget is noted."""

_TRAINING = ("train_time", "charged_time")
METRICS = frozenset((*_TRAINING, "unbudgeted_time", "budget_spent"))
"""What :func:`outside_budget` looks at."""


def outside_budget(rows: Iterable[Row]) -> list[str]:
    """A sentence for each method whose work outside the budget is over 5 % of its training time.

    The share is the mean over the method's runs; what the time went into is that of one of them.
    """
    rows = list(rows)
    training: dict[str, float] = {}
    outside: dict[str, Row] = {}
    methods: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        if row.value is None:
            continue
        if row.metric in _TRAINING:
            training[row.run_id] = training.get(row.run_id, 0.0) + row.value
        elif row.metric == "unbudgeted_time" and row.phase == "setup":
            outside[row.run_id] = row
            setting = (row.dataset, row.arch, row.method)
            methods.setdefault(setting, []).append(row.run_id)
    found = []
    for (*_, method), runs in methods.items():
        shares = [(outside[run].value or 0.0) / training[run] for run in runs if training.get(run)]
        if shares and fmean(shares) > WORTH_SAYING:
            largest = max((outside[run] for run in runs), key=lambda row: row.value or 0.0)
            found.append(
                f"outside the budget: {method} worked for another {fmean(shares):.0%} of its "
                f"training time ({largest.reason})"
            )
    return list(dict.fromkeys([*found, *_left_unspent(rows)]))


def _left_unspent(rows: Iterable[Row]) -> Iterator[str]:
    """A sentence for each method that left more than 5 % of its budget unspent, on average."""
    spent: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        if row.metric == "budget_spent" and row.value is not None:
            spent.setdefault((row.dataset, row.arch, row.method), []).append(row.value)
    for (*_, method), values in spent.items():
        if fmean(values) < 100 * (1 - WORTH_SAYING):
            yield f"budget left over: {method} spent {fmean(values):.0f} % of its budget"
