"""What the terminal shows of the run under way."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from benchmarks.cli.live import LiveDisplay
from benchmarks.launch.suite_run import Job


def shown(event):
    """The line of a run that has reported an event, without colours."""
    planned = {"run_id": "a-0", "label": "a", "spec": {"seed": 0}, "headline": "top1"}
    job = Job(planned)
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    display = LiveDisplay([job], [job], 0, console)
    display.started(job)
    display.event(job, {"event": "progress", "phase": "train", **event})
    console.print(display.render())
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("event", "told", "filled"),
    [
        ({"batch": 50, "batches": 200}, "50/200", 0.25),
        ({"batch": 50, "spent": 0.25}, "25% spent", 0.25),
        ({"batch": 9, "spent": 1.0}, "100% spent", 1.0),
    ],
)
def test_the_bar_is_filled_by_steps_or_by_what_is_spent(event, told, filled):
    line = shown(event)
    assert told in line
    assert line.count("━") == int(30 * filled)
