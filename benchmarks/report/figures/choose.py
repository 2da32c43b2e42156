"""Which figures results have, and one sentence for each that they cannot have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.analysis.columns import QUALITIES, TRAINING, Column
from benchmarks.analysis.load import Results, Run
from benchmarks.analysis.summary import Line
from benchmarks.records.row import METRICS
from benchmarks.report.figures.curves import AXES, curves_of, learning_curves, quality_of
from benchmarks.report.figures.panels import (
    MEMORY_PARTS,
    Figure,
    Panel,
    TradeOff,
    memory,
    sub_networks,
    trade_off,
)
from benchmarks.report.layout import title_of

_COSTS: dict[str, tuple[Column, ...]] = {
    "parameters": (Column("params_inference", "inference"),),
    "macs": (Column("macs", "inference"), Column("macs_backbone", "inference")),
    "memory": (Column("mem_peak_allocated", TRAINING), Column("mem_peak_resident", TRAINING)),
    "seconds": (Column("train_time", TRAINING),),
    "joules": (Column("energy_gpu_counter", TRAINING), Column("energy_cpu_package", TRAINING)),
}
"""What accuracy is shown against; of several columns the first that was measured."""

MEMORY = tuple(Column(part, "setup") for part in MEMORY_PARTS)
NEEDED = (*(column for columns in _COSTS.values() for column in columns), *MEMORY)
"""Columns that figures read, measured or not."""


@dataclass
class Chosen:
    """Figures in order, and why others are left out."""

    figures: list[Figure] = field(default_factory=list)
    reasons: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """What is left out and why -> of which data sets."""

    def leave_out(self, what: str, name: str, why: str) -> None:
        """Note that a data set has not got a figure."""
        self.reasons.setdefault((what, why), []).append(name)

    @property
    def left_out(self) -> list[str]:
        """A sentence for each."""
        return [f"{what} of {_listed(of)}: {why}." for (what, why), of in self.reasons.items()]


@dataclass(frozen=True)
class _Section:
    """A data set of a task: its networks may share a figure."""

    stem: str
    name: str
    lines: Sequence[Line]
    runs: Sequence[Run]


def choose(found: Sequence[tuple[Results, Sequence[Line], Sequence[Column]]], most: int) -> Chosen:
    """The figures of results.

    Args:
        found: results, their lines, and the columns that the lines have, :data:`NEEDED` among them.
        most: how many at most.
    """
    chosen = Chosen()
    stems: set[str] = set()
    several = len(found) > 1
    for results, lines, columns in found:
        for section in _sections(results, lines, several):
            number, stem = 1, section.stem
            while section.stem in stems:
                number += 1
                section = replace(section, stem=f"{stem}-{number}")
            stems.add(section.stem)
            for figure in _figures(section, columns, chosen):
                if len(chosen.figures) >= most:
                    why = f"at most {most} are drawn, more with --figures"
                    chosen.leave_out("No further figures", section.name, why)
                    break
                chosen.figures.append(figure)
    return chosen


def _sections(results: Results, lines: Sequence[Line], several: bool) -> Iterator[_Section]:
    settings: dict[tuple[str, str], tuple[list[Line], list[Run]]] = {}
    for line in lines:
        settings.setdefault(line.network[:2], ([], []))[0].append(line)
    for run in results.runs:
        settings.setdefault(run.setting[:2], ([], []))[1].append(run)
    tasks = {task for task, _ in settings}
    for (task, dataset), (of_section, runs) in settings.items():
        names = [*([results.name] if several else []), *([task] if len(tasks) > 1 else []), dataset]
        yield _Section(_slug(" ".join(names)), ", ".join(names), of_section, runs)


def _figures(section: _Section, columns: Sequence[Column], chosen: Chosen) -> Iterator[Figure]:
    measured = [c for c in columns if any(line.cells[c.key].n for line in section.lines)]

    methods, archs = (
        tuple(dict.fromkeys(line.network[place] for line in section.lines)) for place in (3, 2)
    )

    def figure(stem: str, caption: str, panel: Panel) -> Figure:
        stem = f"{section.stem}-{stem}"
        return Figure(stem, f"{caption}: {section.name}.", panel, methods, archs)

    quality = next((Column(m, "test") for m in QUALITIES if Column(m, "test") in measured), None)
    if quality is None:
        chosen.leave_out("No trade-offs", section.name, "no accuracy was measured on test")
    else:
        name = title_of(quality)
        for stem, costs in _COSTS.items():
            cost = next((c for c in costs if c in measured), None)
            if cost is None:
                why = _reason(section.lines, costs)
                chosen.leave_out(f"No {name} against {title_of(costs[-1])}", section.name, why)
                continue
            panel = trade_off(section.lines, cost, quality)
            if panel.points:
                yield figure(f"{quality.metric}-{stem}", _caption(panel), panel)
        for cost in _sub_network_costs(measured):
            panel = sub_networks(section.lines, cost, quality)
            if panel.points:
                stem = f"sub-networks-{_slug(cost.metric)}"
                yield figure(stem, _caption(panel), panel)
    yield from _learning(section, figure, chosen)
    bars = memory(section.lines)
    if bars.bars:
        absent = [c for c in MEMORY if c not in measured]
        yield figure("memory", "Memory of one training step, by what holds it", bars)
        for column in absent:
            why = _reason(section.lines, [column])
            chosen.leave_out(f"No {title_of(column)} in the memory", section.name, why)
    else:
        chosen.leave_out("No memory breakdown", section.name, _reason(section.lines, MEMORY))


def _learning(
    section: _Section, figure: Callable[[str, str, Panel], Figure], chosen: Chosen
) -> Iterator[Figure]:
    curves, absent = curves_of([run for run in section.runs if not run.failed])
    if absent:
        runs = "1 run has" if absent == 1 else f"{absent} runs have"
        chosen.leave_out("Learning curves without some runs", section.name, f"{runs} no curve.csv")
    everything = [points for seeds in curves.values() for points in seeds]
    metric = quality_of(everything)
    if metric is None:
        if everything:
            chosen.leave_out("No learning curves", section.name, "no accuracy on validation")
        return
    for axis, label in AXES.items():
        panel = learning_curves(curves, axis, metric)
        if panel.curves:
            caption = (
                f"{METRICS[metric].title} on validation against {label.partition(' (')[0]}, mean "
                "over seeds and a band of ± one standard deviation, as far as all seeds of a "
                "method go"
            )
            yield figure(f"curve-{axis}", caption, panel)
        else:
            chosen.leave_out(
                f"No learning curves against {label.partition(' (')[0]}",
                section.name,
                f"the runs' curve.csv have no column '{axis}'",
            )


def _sub_network_costs(measured: Sequence[Column]) -> list[Column]:
    macs = [c for c in _COSTS["macs"] if c in measured][:1]
    latency = [c for c in measured if c.metric.startswith("latency@")]
    latency.sort(key=lambda c: _condition(c.metric))
    return [*macs, *latency[:1]]


def _condition(metric: str) -> tuple[float, str]:
    text = metric.partition("@")[2]
    return (float(text) if text.isdigit() else float("inf"), text)


def _caption(panel: TradeOff) -> str:
    what = f"{title_of(panel.y)} against {title_of(panel.x)}"
    if panel.joined:
        return f"{what} of the sub-networks of each method"
    return f"{what}; the line is the Pareto front, bars are ± one standard deviation over seeds"


def _reason(lines: Sequence[Line], columns: Sequence[Column]) -> str:
    """Why there is no value: the last column's reason tells most, it needs no GPU."""
    for column in reversed(columns):
        reasons: Mapping[str, None] = dict.fromkeys(
            reason for line in lines for reason in line.cells[column.key].reasons
        )
        if reasons:
            return next(iter(reasons))
    return "not measured"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-") or "results"
