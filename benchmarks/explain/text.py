"""The document of a run as lines of plain text, as wide as the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.explain.curve_text import curve_lines
from benchmarks.explain.document import QUALITY_PHASES, shown_unit
from benchmarks.explain.plot import number
from benchmarks.explain.sums_text import sum_lines
from benchmarks.launch.timing import duration
from benchmarks.records import FAILED, metric_info

NARROWEST = 40
_MANY = 6
"""Networks from which on only the headline metric of each is shown."""
_NETWORK_METRICS = (
    "params_inference",
    "macs",
    "macs_executed",
    "latency",
    "throughput",
    "energy_image",
    "weights_bytes",
    "disk_size",
)
_LIBRARIES = ("torch", "torchvision", "mmengine", "numpy")


def explain_text(document: Mapping[str, Any], width: int, plain: bool = False) -> str:
    """The whole report.

    Args:
        document: of :func:`benchmarks.explain.document.explanation`.
        width: characters a line.
        plain: use ASCII signs alone.
    """
    width = max(width, NARROWEST)
    sections = {
        "": _what(document, width - 2),
        "How far it came": _standing(document),
        "Quality": _quality(document, width - 2),
        "Networks": _networks(document, width - 2),
        "Learning curve": curve_lines(document, width - 2, plain),
        "Time": sum_lines(document["time"], width - 2, plain),
        "Energy": _or_nothing(document, "energy", width, plain),
        "Memory": sum_lines(document["memory"], width - 2, plain),
        "Processes": _segments(document),
        "Warnings": [f"! {text}" for text in document["warnings"]],
        "Unavailable": _unavailable(document),
        "Repeat it": _repeat(document),
    }
    lines: list[str] = []
    for title, content in sections.items():
        wrapped = [part for line in content for part in _wrapped(line, width - 2)]
        if wrapped:
            lines += [title, *(f"  {line}".rstrip() for line in wrapped), ""]
    return "\n".join(_printable(line, plain) for line in lines[1:])


def _what(document: Mapping[str, Any], width: int) -> list[str]:
    what = document["what"]
    device, git = what["device"], what["git"]
    states = {"finished": "finished", FAILED: "failed"}
    alive = document["standing"] is not None and document["standing"]["under_way"]
    state = states.get(document["state"], "under way" if alive else "not finished")
    spent = [
        f"{number(value / shown_unit(f'spent_{currency}')[1])} {unit}"
        for currency, value in what["spent"].items()
        for unit in [_currency(currency)]
    ]
    profile = f", profile {what['profile']}" if what["profile"] else ""
    cores = f", {device['cpu_cores']} cores" if device.get("cpu_cores") else ""
    threads = f", threads: {device['threads']}" if device.get("threads") else ""
    commit = str(git.get("commit") or "")[:12]
    dirty = " with changes that are in no commit" if git.get("dirty") else ""
    libraries = {k: v for k, v in what["versions"].items() if k in _LIBRARIES}
    software = [
        f"depthbench {what['depthbench']}" if what["depthbench"] else "",
        f"commit {commit}{dirty}" if commit else "no commit known",
        f"Python {what['python']}" if what["python"] else "",
        *(f"{name} {version}" for name, version in libraries.items()),
        f"{len(what['packages'])} packages in all" if what["packages"] else "",
    ]
    facts = {
        "run": f"{document['run_id']}: {state}",
        "task": ", ".join(str(what[k]) for k in ("task", "dataset", "arch") if what[k]),
        "method": f"{what['method']}, seed {what['seed']}",
        "method file": what["method_file"] or "",
        "budget": f"{what['budget_text'] or what['budget']}{profile}"
        + (f"; spent {', '.join(spent)}" if spent else ""),
        "phases": ", ".join(f"{p['name']}: {p['steps']} batches" for p in what["phases"]),
        "suite": what["suite"] or "",
        "device": f"{device.get('name', 'not known')}{cores}{threads}",
        "system": what["system"] or "",
        "software": ", ".join(filter(None, software)),
        "started": _moment(what["started"]),
        "finished": _moment(what["finished"]),
    }
    return [
        line
        for key, value in facts.items()
        if value
        for line in _folded(f"{key:<12}{value}", width, 12)
    ]


def _standing(document: Mapping[str, Any]) -> list[str]:
    standing = document["standing"]
    if standing is None:
        return []
    lines = [f"failed: {standing['reason']}"] if standing["reason"] else []
    if standing["under_way"]:
        lines.append("its process is at work on this machine now")
    saved = standing["checkpoint"]
    if saved is None:
        lines.append("there is no checkpoint: it begins anew")
    elif saved["problem"]:
        lines.append(f"its checkpoint {saved['path']} is of no use: {saved['problem']}")
    else:
        where = "the end" if saved["phase_ended"] else f"batch {saved['step']}"
        lines.append(
            f"last checkpoint: {where} of phase {saved['phase']}, written "
            f"{_moment(saved['written'])} ({number(saved['size'] / 2**20)} MiB)"
        )
        for phase, windows in saved["seconds"].items():
            told = [f"{name} {duration(value)}" for name, value in windows.items()]
            lines.append(f"time up to then, phase {phase}: {', '.join(told)}")
    if standing["log"] and document["state"] == FAILED:
        lines += ["end of the log:", *(f"  {line}" for line in standing["log"])]
    if not standing["under_way"]:
        lines += ["go on with it by", f"  {standing['command']}"]
        if document["repeat"]["suite_file_unknown"]:
            lines.append("with the file of its suite in place of SUITE.yaml")
    return lines


def _quality(document: Mapping[str, Any], width: int) -> list[str]:
    found = document["quality"]
    values, headline = found["values"], found["headline"]
    lines = []
    if found["last_on_curve"] is not None:
        title = metric_info(headline).title
        lines.append(
            f"{title} on validation: last {number(found['last_on_curve'])} (epoch "
            f"{found['last_epoch']}), best {number(found['best_on_curve'])} (epoch "
            f"{found['best_epoch']})"
        )
    rows = []
    for variant, metrics in values.items():
        for metric, phases in metrics.items():
            if "@" in metric or (len(values) > _MANY and metric != headline):
                continue
            cells = ["-" if phases.get(p) is None else number(phases[p]) for p in QUALITY_PHASES]
            unit, _ = shown_unit(metric)
            rows.append(
                [variant, f"{metric_info(metric).title}{f' ({unit})' if unit else ''}", *cells]
            )
    headings = ["network", "metric", "val", "test", "best val", "best test"]
    return [*lines, *_table(headings, rows, width)]


def _networks(document: Mapping[str, Any], width: int) -> list[str]:
    measured = document["networks"]
    known = {name for metrics in measured.values() for name in metrics}
    names = [
        name
        for base in _NETWORK_METRICS
        for name in sorted(known)
        if name.split("@")[0] == base and not name.startswith("macs@")
    ]
    headings = ["network"]
    for name in names:
        unit, _ = shown_unit(name)
        title = metric_info(name).title + (f"@{name.partition('@')[2]}" if "@" in name else "")
        headings.append(f"{title} ({unit})")
    rows = [
        [
            variant,
            *(number(metrics[n] / shown_unit(n)[1]) if n in metrics else "-" for n in names),
        ]
        for variant, metrics in measured.items()
    ]
    return _table(headings, rows, width)


def _or_nothing(document: Mapping[str, Any], kind: str, width: int, plain: bool) -> list[str]:
    lines = sum_lines(document[kind], width - 2, plain)
    if lines or document["standing"] is not None:
        return lines
    reasons = [
        each["reason"]
        for each in document["unavailable"]
        if any(metric.startswith("energy_") for metric in each["metrics"])
    ]
    return [f"not measured: {'; '.join(reasons)}"] if reasons else ["not measured"]


def _segments(document: Mapping[str, Any]) -> list[str]:
    lines = []
    for segment in document["segments"]:
        began = "resumed" if segment["resumed"] else "began"
        line = f"{segment['process']}: {began} {_moment(segment['started'])}"
        if segment["interrupted"]:
            line += ", was interrupted; its work since the last checkpoint is in no number"
        elif segment["ended"]:
            line += f", ended {_moment(segment['ended'])}"
            line += f" after {duration(segment['seconds'])}" if segment["seconds"] else ""
        lines.append(line)
    return lines


def _unavailable(document: Mapping[str, Any]) -> list[str]:
    return [f"{', '.join(each['metrics'])}: {each['reason']}" for each in document["unavailable"]]


def _repeat(document: Mapping[str, Any]) -> list[str]:
    told = document["repeat"]
    lines = []
    if document["state"] == "finished":
        lines += [told["command"], "repeats it in a new folder and says whether the numbers agree"]
        if told["needs"]:
            how = "bit by bit they do" if told["bit_by_bit"] else "nearly, not bit by bit, they do"
            lines += [f"{how} with", *(f"  {need}" for need in told["needs"])]
        file = ", with its suite's file as SUITE.yaml" if told["suite_file_unknown"] else ""
        lines += [f"its whole suite{file}:", f"  {told['suite_command']}"]
    return lines


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Columns wide enough for their cells, or a line of pairs for each row where they are not."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
    if sum(widths) + 2 * (len(widths) - 1) > width:
        pairs = [zip(headings[1:], row[1:], strict=True) for row in rows]
        told = [", ".join(f"{name} {cell}" for name, cell in each) for each in pairs]
        return [f"{row[0]}: {text}" for row, text in zip(rows, told, strict=True)]
    left = 2 if headings[1:2] == ["metric"] else 1
    return [
        "  ".join(
            f"{cell:<{w}}" if i < left else f"{cell:>{w}}"
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [headings, *rows]
    ]


def _moment(text: Any) -> str:
    """``2026-11-21 04:02:58 UTC``."""
    return str(text).replace("T", " ").replace("+00:00", " UTC") if text else ""


def _currency(currency: str) -> str:
    unit = shown_unit(f"spent_{currency}")[0]
    return currency if unit == "count" else unit


def _wrapped(line: str, width: int) -> Iterator[str]:
    """Long sentences broken; commands and drawings stay whole."""
    if len(line) <= width or line.lstrip().startswith("depthbench "):
        yield line
        return
    yield from _folded(line, width, len(line) - len(line.lstrip()) + 2)


def _folded(line: str, width: int, hanging: int) -> list[str]:
    return textwrap.wrap(
        line, width, subsequent_indent=" " * hanging, break_long_words=False, break_on_hyphens=False
    )


def _printable(line: str, plain: bool) -> str:
    return line.encode("ascii", "replace").decode("ascii") if plain else line
