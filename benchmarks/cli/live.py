"""What a terminal shows while a suite runs, and what a log file gets instead."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from benchmarks.launch.suite_run import Job, Observer, Outcome
from benchmarks.launch.timing import duration, time_left
from benchmarks.records.row import metric_info

STOPPING = "stopping after its training step; the same signal again stops at once"
ROWS_SHOWN = 15


def result_text(outcome: Outcome) -> str:
    """The headline of every variant (``super 71.20, base 70.11``), or why there is none."""
    if outcome.reason:
        return f"failed: {outcome.reason}"
    values = outcome.headlines()
    if len(values) == 1:
        return f"{next(iter(values.values())):.2f}"
    return ", ".join(f"{name} {value:.2f}" for name, value in values.items()) or "no value"


class PlainDisplay(Observer):
    """One line a finished run, and what runs note, for a file or a pipe.

    Args:
        jobs: the runs of the plan.
        finished: how many of them are finished already.
        write: takes a line.
    """

    def __init__(self, jobs: Sequence[Job], finished: int, write: Callable[[str], object]) -> None:
        self._runs = len(jobs)
        self._ended = finished
        self._write = write

    def __enter__(self) -> PlainDisplay:
        if self._ended:
            self._write(f"{self._ended} of {self._runs} runs are finished already")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def found_damage(self, sentence: str) -> None:
        """Pass it on."""
        self._write(f"note: {sentence}")

    def event(self, job: Job, event: Mapping[str, Any]) -> None:
        """Pass notes on."""
        if event["event"] == "note":
            self._write(f"{job.label} seed {job.seed}: {event['text']}")

    def stopping(self, job: Job) -> None:
        """Say what it waits for."""
        self._write(f"{job.label} seed {job.seed}: {STOPPING}")

    def ended(self, outcome: Outcome) -> None:
        """Write the run's line."""
        self._ended += 1
        job = outcome.job
        title = "" if outcome.reason else f"{metric_info(job.headline).title} "
        self._write(
            f"[{self._ended}/{self._runs}] {job.label} seed {job.seed}: "
            f"{title}{result_text(outcome)} ({duration(outcome.seconds)})"
        )


class LiveDisplay(Observer):
    """A table that grows as runs land, above the progress of the run under way.

    Args:
        jobs: the runs of the plan.
        waiting: those that this process will run.
        finished: how many are finished already.
        console: where to draw.
    """

    def __init__(
        self, jobs: Sequence[Job], waiting: Sequence[Job], finished: int, console: Console
    ) -> None:
        self._runs = len(jobs)
        self._waiting = list(waiting)
        self._finished = finished
        self._outcomes: list[Outcome] = []
        self._current: Job | None = None
        self._began = 0.0
        self._progress: Mapping[str, Any] = {}
        self._note = ""
        self._headline = metric_info(jobs[0].headline).title if jobs else ""
        self._live = Live(console=console, auto_refresh=False, get_renderable=self.render)

    def __enter__(self) -> LiveDisplay:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.refresh()
        self._live.__exit__(kind, error, trace)

    def found_damage(self, sentence: str) -> None:
        """Leave it above the table."""
        self._live.console.print(f"note: {sentence}", markup=False, highlight=False)

    def started(self, job: Job) -> None:
        """Show the run as the one under way."""
        self._waiting = [other for other in self._waiting if other.run_id != job.run_id]
        self._current, self._began = job, time.monotonic()
        self._progress, self._note = {}, ""
        self._live.refresh()

    def event(self, job: Job, event: Mapping[str, Any]) -> None:
        """Keep the latest progress and note; the next tick draws them."""
        if event["event"] == "progress":
            self._progress = event
        elif event["event"] == "note":
            self._note = str(event["text"])

    def tick(self) -> None:
        """Draw."""
        self._live.refresh()

    def stopping(self, job: Job) -> None:
        """Show what it waits for."""
        self._note = STOPPING
        self._live.refresh()

    def ended(self, outcome: Outcome) -> None:
        """Add the run to the table."""
        self._outcomes.append(outcome)
        self._finished += not outcome.reason
        self._current = None
        self._live.refresh()

    def render(self) -> RenderableType:
        """The whole picture."""
        parts: list[RenderableType] = []
        if self._outcomes:
            parts.append(self._table())
        parts.append(self._counts())
        if self._current is not None:
            parts.append(self._under_way(self._current))
        return Group(*parts)

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("method")
        table.add_column("seed", justify="right")
        table.add_column(self._headline)
        table.add_column("time", justify="right")
        for outcome in self._outcomes[-ROWS_SHOWN:]:
            table.add_row(
                Text(outcome.job.label),
                str(outcome.job.seed),
                Text(result_text(outcome), style="red" if outcome.reason else ""),
                duration(outcome.seconds),
            )
        return table

    def _counts(self) -> Text:
        failed = sum(bool(outcome.reason) for outcome in self._outcomes)
        counts = {
            "done": self._finished,
            "failed": failed,
            "running": int(self._current is not None),
            "waiting": len(self._waiting),
        }
        shown = ", ".join(f"{n} {name}" for name, n in counts.items() if n or name != "failed")
        current = self._current
        elapsed = time.monotonic() - self._began
        left = time_left(
            [job.seconds for job in self._waiting],
            [(o.job.seconds, o.seconds) for o in self._outcomes if not o.reason],
            None if current is None else (current.seconds, elapsed),
        )
        over = current is None and not self._waiting
        return Text(f"{shown} of {self._runs}" + ("" if over else f" · {duration(left)} left"))

    def _under_way(self, job: Job) -> Table:
        batch, batches = self._progress.get("batch", 0), self._progress.get("batches", 0)
        done, text = (
            batch / batches if batches else 0.0,
            f"{batch}/{batches}" if batches else "",
        )
        if "spent" in self._progress:
            done = self._progress["spent"]
            text = f"{done:.0%} spent"
        line = Table.grid(padding=(0, 1))
        phase = self._progress.get("phase", "starting")
        line.add_row(
            Text(f"{job.label} seed {job.seed}: {phase}"),
            ProgressBar(total=1.0, completed=done, width=30),
            Text(text),
            duration(time.monotonic() - self._began),
            Text(self._note, style="dim"),
        )
        return line
