"""The document of a run as lines of plain text, as wide as the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from benchmarks.launch.timing import duration
from benchmarks.records.row import FAILED, metric_info
from benchmarks.report.card.document import QUALITY_PHASES
from benchmarks.report.card.layout import LOG_FROM, bars, folded, number, table_lines, wrapped
from benchmarks.report.card.sums import HOLDS, MISSES, UNKNOWN, WITHIN

NARROWEST = 40
_MANY = 6
"""Networks from which on only the primary metric of each is shown."""
_NETWORK_METRICS = (
    *("params_inference", "macs", "macs_executed", "latency", "throughput", "energy_image"),
    *("weights_bytes", "disk_size"),
)
_LIBRARIES = ("torch", "torchvision", "mmengine", "numpy")
_BAR, _NAME, _NUMBERS = 16, 34, 26
"""Characters of a part's bar, of its name, and of its amount and share with the indents."""
_POINTS = 16
"""Validations that are shown of a curve."""

Document = Mapping[str, Any]


def explain_text(document: Document, width: int, plain: bool = False) -> str:
    """The whole report.

    Args:
        document: of :func:`benchmarks.report.card.document.explanation`.
        width: characters a line.
        plain: use ASCII signs alone.
    """
    width = max(width, NARROWEST) - 2
    sums = {
        kind: [line for each in document[kind] for line in _sum(each, width, plain)]
        for kind in ("time", "energy", "memory")
    }
    sections = {
        "": _what(document, width),
        "How far it came": _standing(document),
        "Quality": _quality(document, width),
        "Networks": _networks(document, width),
        "Learning curve": curve_lines(document, width, plain),
        "Time": sums["time"],
        "Energy": sums["energy"] or _no_energy(document),
        "Memory": sums["memory"],
        "Processes": _segments(document),
        "Warnings": [f"! {text}" for text in document["warnings"]],
        "Unavailable": [
            f"{', '.join(u['metrics'])}: {u['reason']}" for u in document["unavailable"]
        ],
        "Repeat it": _repeat(document),
    }
    lines: list[str] = []
    for title, content in sections.items():
        shown = [part for line in content for part in wrapped(line, width)]
        if shown:
            lines += [title, *(f"  {line}".rstrip() for line in shown), ""]
    text = "\n".join(lines[1:])
    return text.encode("ascii", "replace").decode("ascii") if plain else text


def _what(document: Document, width: int) -> list[str]:
    what, standing = document["what"], document["standing"]
    device, environment, state = what["device"], what["environment"], document["state"]
    git = environment["git"]
    if standing is not None and state != FAILED:
        state = "under way" if standing["under_way"] else "not finished"
    profile = what["profile"] and f"profile {what['profile']}"
    amounts = (_amount(f"spent_{unit}", value, unit) for unit, value in what["spent"].items())
    spent = what["spent"] and f"spent: {_joined(*amounts)}"
    cores = device.get("cpu_cores") and f"{device['cpu_cores']} cores"
    threads = device.get("threads") and f"threads: {device['threads']}"
    commit = f"commit {str(git['commit'])[:12]}" if git.get("commit") else "no commit known"
    software = [
        environment.get("depthbench") and f"depthbench {environment['depthbench']}",
        commit + (" with changes that are in no commit" if git.get("dirty") else ""),
        environment.get("python") and f"Python {environment['python']}",
        *(f"{name} {what['versions'][name]}" for name in _LIBRARIES if name in what["versions"]),
        environment["packages"] and f"{len(environment['packages'])} packages in all",
    ]
    facts = {
        "run": f"{document['run_id']}: {state}",
        "task": _joined(what["task"], what["dataset"], what["arch"]),
        "method": f"{what['method']}, seed {what['seed']}",
        "method file": what["method_file"],
        "budget": _joined(what["budget_text"] or what["budget"], profile, spent),
        "phases": _joined(*(f"{p['name']}: {p['batches']} batches" for p in what["phases"])),
        "suite": what["suite"],
        "device": _joined(device.get("name", "not known"), cores, threads),
        "system": environment.get("system"),
        "software": _joined(*software),
        "started": _moment(what["started"]),
        "finished": _moment(what["finished"]),
    }
    lines = [f"{key:<12}{value}" for key, value in facts.items() if value]
    return [part for line in lines for part in folded(line, width, 12)]


def _standing(document: Document) -> list[str]:
    standing = document["standing"]
    if standing is None:
        return []
    lines = [f"failed: {standing['reason']}"] if standing["reason"] else []
    if standing["under_way"]:
        lines.append("its process is at work on this machine now")
    saved = standing["checkpoint"]
    if saved is None:
        lines.append("there is no checkpoint: it starts over")
    elif saved["problem"]:
        lines.append(f"its checkpoint {saved['path']} {saved['problem']}")
    else:
        of = f" of {saved['batches']}" if saved["batches"] else ""
        epochs = f" of {saved['epochs']}" if saved["epochs"] else ""
        where = "the end" if saved["phase_ended"] else f"batch {saved['batch']}{of}"
        lines.append(
            f"last checkpoint: {where} of phase {saved['phase']} (epoch {saved['epoch']}{epochs}), "
            f"written {_moment(saved['written'])}, {number(saved['size'] / 2**20)} MiB"
        )
        for phase, windows in saved["seconds"].items():
            spent = (f"{name} {duration(seconds)}" for name, seconds in windows.items())
            where = f"phase {phase}" if phase else "outside of the phases"
            lines.append(f"time up to then, {where}: {_joined(*spent)}")
    if standing["log"] and document["state"] == FAILED:
        lines += ["end of the log:", *(f"  {line}" for line in standing["log"])]
    if not standing["under_way"]:
        lines += ["go on with it by", f"  {standing['command']}"]
        if document["repeat"]["suite_file_unknown"]:
            lines.append("with the file of its suite in place of SUITE.yaml")
    return lines


def _quality(document: Document, width: int) -> list[str]:
    found = document["quality"]
    values, headline = found["values"], found["headline"]
    lines = []
    if found["last_on_curve"] is not None:
        lines.append(
            f"{metric_info(headline).title} on validation: last {number(found['last_on_curve'])} "
            f"(epoch {found['last_epoch']}), best {number(found['best_on_curve'])} (epoch "
            f"{found['best_epoch']})"
        )
    rows = [
        [variant, _title(metric), *(_shown(metric, phases.get(p)) for p in QUALITY_PHASES)]
        for variant, metrics in values.items()
        for metric, phases in metrics.items()
        if "@" not in metric and (len(values) <= _MANY or metric == headline)
    ]
    headings = ["network", "metric", "val", "test", "best val", "best test"]
    return [*lines, *table_lines(headings, rows, width)]


def _networks(document: Document, width: int) -> list[str]:
    measured = document["networks"]
    known = sorted({name for metrics in measured.values() for name in metrics})
    names = [name for base in _NETWORK_METRICS for name in known if name.split("@")[0] == base]
    names = [name for name in names if not name.startswith("macs@")]
    rows = [
        [_title(name), *(_shown(name, metrics.get(name)) for metrics in measured.values())]
        for name in names
    ]
    return table_lines(["metric", *measured], rows, width)


def curve_lines(document: Document, width: int, plain: bool) -> list[str]:
    """The primary metric and the training loss at each validation, as numbers and as bars."""
    points, headline = document["curve"]["points"], document["quality"]["headline"]
    if not points:
        return [document["curve"]["missing"]] if document["curve"]["missing"] else []
    count = min(len(points), _POINTS)
    picked = [points[round(i * (len(points) - 1) / max(1, count - 1))] for i in range(count)]
    titles = {"phase": "phase", "epoch": "epoch", "seconds": "seconds"}
    if len({point["phase"] for point in points}) == 1:
        del titles["phase"]
    drawn = {
        headline: _title(headline, base=True) if headline else "",
        "train_loss": "training loss",
    }
    columns = []
    for name, title in {**titles, **drawn}.items():
        values = [point.get(name) for point in picked]
        if any(value is not None for value in values):
            texts = [v if isinstance(v, str) else _number(v) for v in values]
            columns.append([title, *texts])
            if name in drawn:
                columns.append(["", *bars(values, min(24, (width - 46) // 2), plain)])
    headings, *rows = (list(row) for row in zip(*columns, strict=True))
    lines = table_lines(headings, rows, width)
    if len(lines) > len(rows):
        some = f"{count} of {len(points)} validations; " if count < len(points) else ""
        log = f"logarithmic where their ratio is {LOG_FROM:g} or more"
        lines.append(f"{some}bars from the lowest to the highest value, {log}")
    return lines


def _sum(each: Document, width: int, plain: bool) -> list[str]:
    """A sum's parts with their shares, the whole, and whether it holds."""
    unit, scale = ("MiB", 2.0**20) if each["unit"] == "B" else (each["unit"], 1.0)
    of = each["sum"] if each["whole"] is None else each["whole"]

    def amount(value: float) -> str:
        return f"{number(value / scale)} {unit}"

    verdict = f"sum {amount(each['sum'])}; not checked: {each['why']}"
    if each["verdict"] != UNKNOWN:
        whole, off = f"{each['whole_name']} {amount(of)}", amount(abs(each["missing"]))
        allowed = f"{amount(each['tolerance'])} allowed"
        side = "short of" if each["missing"] > 0 else "more than"
        if each["verdict"] == MISSES:
            verdict = f"MISSES: the sum is {off} {side} {whole} ({allowed}); {each['why']}"
        elif each["relation"] == WITHIN:
            verdict = f"OK: fits into {whole}"
        else:
            verdict = f"OK: the sum is {whole}, {off} off; {allowed}: {each['why']}"
    shares = [(p, p["value"] / of if of else 0.0) for p in each["parts"] if p["value"] is not None]
    if each["verdict"] == HOLDS and each["relation"] == WITHIN and len(shares) == 2:
        texts = [f"{p['name']} {amount(p['value'])} ({share:.1%})" for p, share in shares]
        return [f"{each['title']}: {'; '.join([*texts, verdict])}"]
    names, lines = max(10, min(_NAME, width - _NUMBERS)), []
    for part, share in shares:
        bar = ("#" if plain else "█") * max(0, min(_BAR, round(share * _BAR)))
        *above, name = textwrap.wrap(part["name"], names)
        line = f"{name:<{names}}{amount(part['value']):>14} {share:>7.1%}"
        lines += [*above, f"{line}  {bar}" if width >= names + _NUMBERS + _BAR else line]
    missing = [p for p in each["parts"] if p["value"] is None]
    lines += [f"{part['name']}: not measured ({part['note']})" for part in missing]
    return [f"{each['title']}:", *(f"  {line}" for line in [*lines, verdict])]


def _no_energy(document: Document) -> list[str]:
    if document["standing"] is not None:
        return []
    meters = {"energy_gpu_counter", "energy_cpu_package"}
    reasons = [u["reason"] for u in document["unavailable"] if meters & set(u["metrics"])]
    return [f"not measured: {'; '.join(reasons)}" if reasons else "not measured"]


def _segments(document: Document) -> list[str]:
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


def _repeat(document: Document) -> list[str]:
    repeat = document["repeat"]
    if document["standing"] is not None:
        return []
    how = "bit by bit they do" if repeat["bit_by_bit"] else "nearly, not bit by bit, they do"
    file = ", with its suite's file as SUITE.yaml" if repeat["suite_file_unknown"] else ""
    return [
        repeat["command"],
        "repeats it in a new folder and says whether the numbers agree",
        *([f"{how} with"] if repeat["needs"] else []),
        *(f"  {need}" for need in repeat["needs"]),
        f"its whole suite{file}:",
        f"  {repeat['suite_command']}",
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else number(value)


def _title(metric: str, base: bool = False) -> str:
    """``latency@1 (ms)``; with ``base`` in the unit that values are stored in."""
    info, (_, at, condition) = metric_info(metric), metric.partition("@")
    unit = info.unit if base else info.shown or info.unit
    return info.title + at + condition + (f" ({unit})" if unit else "")


def _shown(metric: str, value: float | None) -> str:
    return _number(None if value is None else value / metric_info(metric).scale)


def _amount(metric: str, value: float, counted: str) -> str:
    """With its unit; what is counted is called ``counted``."""
    info = metric_info(metric)
    return f"{_shown(metric, value)} {counted if info.unit == 'count' else info.shown or info.unit}"


def _joined(*words: Any) -> str:
    return ", ".join(str(word) for word in words if word)


def _moment(text: Any) -> str:
    """``2026-11-21 04:02:58 UTC``."""
    return str(text).replace("T", " ").replace("+00:00", " UTC") if text else ""
