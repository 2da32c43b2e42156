"""Networks over several tasks: mean ranks, and the area under their performance profile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.analysis.columns import QUALITIES, Column
from benchmarks.analysis.statistics.ranks import algoperf_score, rank_table
from benchmarks.analysis.summary import Line

Setting = tuple[str, str, str]
"""Task, data set, architecture."""


@dataclass(frozen=True)
class Overview:
    """Networks that all of several settings have, ranked in one thing.

    Attributes:
        columns: what was ranked; several where the settings measure quality by different metrics.
        settings: where.
        networks: method and variant, best mean rank first.
        mean_ranks: over settings, 1 is the best.
        scores: the AlgoPerf score of a cost, from 0 to 1 (cheapest everywhere); None of quality.
        p_value: of Friedman's test; None where there is none, see ``statistics.ranks``.
        critical_difference: mean ranks that differ by less do not differ significantly; None
            as above.
    """

    columns: tuple[Column, ...]
    settings: tuple[Setting, ...]
    networks: tuple[tuple[str, str], ...]
    mean_ranks: tuple[float, ...]
    scores: tuple[float, ...] | None
    p_value: float | None
    critical_difference: float | None

    def as_dict(self) -> dict[str, Any]:
        """The ranks as a mapping that JSON can hold."""
        scores = self.scores or (None,) * len(self.networks)
        return {
            "metrics": [column.key for column in self.columns],
            "settings": [list(setting) for setting in self.settings],
            "friedman_p": self.p_value,
            "critical_difference": self.critical_difference,
            "networks": [
                {"method": method, "variant": variant, "mean_rank": rank, "profile_score": score}
                for (method, variant), rank, score in zip(
                    self.networks, self.mean_ranks, scores, strict=True
                )
            ],
        }


def over_tasks(lines: Sequence[Line], columns: Sequence[Column]) -> list[Overview]:
    """Ranks over settings: of quality, and of each other column; nothing for a single setting.

    A network counts if every setting that measured the column has it. Quality is the first column
    of quality that a setting measured, so that tasks with different metrics count alike.
    """
    quality = [column for column in columns if column.metric in QUALITIES]
    others = [[c] for c in columns if c.metric not in QUALITIES and c.info.better]
    found = [_overview(lines, chosen) for chosen in (quality, *others) if chosen]
    return [overview for overview in found if overview is not None]


def _overview(lines: Sequence[Line], columns: Sequence[Column]) -> Overview | None:
    used: dict[Setting, Column] = {}
    for line in lines:
        measured = [c for c in columns if line.cells[c.key].mean is not None]
        if measured:
            used.setdefault(line.network.setting, measured[0])
    values: dict[Setting, dict[tuple[str, str], float]] = {setting: {} for setting in used}
    for line in lines:
        setting = line.network.setting
        if setting in used:
            cell = line.cells[used[setting].key]
            network = (line.method, "" if cell.of_run else line.variant)
            values[setting].setdefault(network, _value(line, used[setting]))
    settings = list(used)
    everywhere = set.intersection(*(set(of) for of in values.values())) if values else set()
    networks = [network for network in values[settings[0]] if network in everywhere] if used else []
    better = {column.info.better for column in used.values()}
    if len(settings) < 2 or len(networks) < 2 or len(better) > 1:
        return None
    table = [[values[setting][network] for network in networks] for setting in settings]
    ranked = rank_table(table, better.pop())
    ranks = ranked.mean_ranks.tolist()
    order = sorted(range(len(networks)), key=lambda i: ranks[i])
    costs = all(column.is_cost for column in used.values()) and not any(
        value <= 0 for row in table for value in row
    )
    scores = algoperf_score(table).tolist() if costs else None
    return Overview(
        columns=tuple(dict.fromkeys(used.values())),
        settings=tuple(settings),
        networks=tuple(networks[i] for i in order),
        mean_ranks=tuple(ranks[i] for i in order),
        scores=scores and tuple(scores[i] for i in order),
        p_value=ranked.p_value,
        critical_difference=ranked.critical_difference,
    )


def _value(line: Line, column: Column) -> float:
    """The mean over seeds; NaN where there is none, or where a seed missed the target."""
    cell = line.cells[column.key]
    missed = column.metric.split("@")[0].endswith("_to_target") and cell.reasons
    return math.nan if cell.mean is None or missed else cell.mean
