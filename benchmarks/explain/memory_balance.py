"""What the peak of memory was made of, and whether the kinds of peak are in order."""

from __future__ import annotations

from benchmarks.explain.balance import UNKNOWN, Balance, Part, balanced, bounded
from benchmarks.explain.subject import Subject, measured
from benchmarks.records import Row

_PARTS = {
    "mem_parameters": "parameters and buffers",
    "mem_gradients": "gradients",
    "mem_optimizer": "optimizer state",
    "mem_activations": "activations",
    "mem_rest": "rest of the step's peak",
}
PEAKS = ("mem_peak_allocated", "mem_peak_reserved", "mem_peak_process", "mem_peak_resident")
SLACK = 0.1
"""Share of the peak by which one step taken apart may miss that of the whole run."""


def memory_balances(run: Subject) -> list[Balance]:
    """Parts beside the peak of the run; on a GPU also allocated within reserved within process."""
    peaks = {metric: _peak(run, metric) for metric in PEAKS}
    allocated, resident = measured(peaks[PEAKS[0]]), measured(peaks[PEAKS[-1]])
    rows = {name: _overall(run, metric) for metric, name in _PARTS.items()}
    if allocated is None:
        rows.pop(_PARTS["mem_rest"])
    parts = [
        Part(name, None if row is None else row.value, "" if row is None else row.reason)
        for name, row in rows.items()
    ]
    if allocated is not None:
        whole = balanced(
            "one training step beside the peak of training",
            "B",
            parts,
            ("mem_peak_allocated", allocated),
            SLACK * allocated,
            f"one step stands for the run: {SLACK:.0%} of the peak",
            "some step of training took more than the one that was taken apart",
            "the parts are not all alive at the peak",
        )
        return [whole, *_nested(peaks)]
    if resident is None:
        why = "no peak of memory was measured"
        return [Balance("one training step", "B", tuple(parts), None, PEAKS[-1], 0.0, UNKNOWN, why)]
    return [
        bounded(
            "one training step inside the process",
            "B",
            parts,
            ("mem_peak_resident", resident),
            0.0,
            "interpreter, libraries, data, and what else the process held",
            "the pages were swapped out, or a row was changed: the parts of a step are resident",
        )
    ]


def _nested(peaks: dict[str, Row | None]) -> list[Balance]:
    """Allocated tensors lie in reserved blocks, and those in the memory of the process."""
    found = []
    kinds = (
        ("mem_peak_allocated", "mem_peak_reserved", "reserved by the allocator and not in use"),
        ("mem_peak_reserved", "mem_peak_process", "CUDA context and libraries"),
    )
    for inner, outer, rest in kinds:
        inside, outside = measured(peaks[inner]), measured(peaks[outer])
        if inside is None or outside is None:
            continue
        found.append(
            bounded(
                f"inside {outer}",
                "B",
                [Part(inner, inside)],
                (outer, outside),
                # NVML is read where windows begin and end, not at the very peak.
                SLACK * outside if outer == "mem_peak_process" else 0.0,
                rest,
                "the readings are not of the same moment, or a row was changed",
            )
        )
    return found


def _peak(run: Subject, metric: str) -> Row | None:
    """The row of a peak: of the phase with the largest, where several have one."""
    rows = [row for row in run.rows if row.metric == metric]
    return max(rows, key=lambda row: -1.0 if row.value is None else row.value, default=None)


def _overall(run: Subject, metric: str) -> Row | None:
    """The row of the phase whose step held the most, which stands for the run."""
    return run.row(metric, "setup")
