"""Time in which the process was stopped is no time, and nothing else is taken for it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from meters.fake_nvml import VirtualClock

from benchmarks.meters.stops import INTERVAL, Activity, RunningClock


class Bench:
    def __init__(self) -> None:
        self.time = VirtualClock()
        self.done: Activity | None = Activity(0.0, 0.0, 0)
        self.clock = RunningClock(self.time, lambda: self.done)

    def gap(self, seconds: float, cpu: float = 0.0, waited: float = 0.0, wakes: int = 1) -> None:
        """Seconds between two beats, with what the process and the thread did in them."""
        self.clock.beat()
        self.time.now += seconds
        if self.done is not None:
            self.done = Activity(
                self.done.cpu + cpu, self.done.waited + waited, self.done.wakes + wakes
            )
        self.clock.beat()


def test_a_stop_is_left_out() -> None:
    bench = Bench()
    before = bench.clock()
    bench.gap(5.0)
    assert bench.clock() - before == pytest.approx(0.0, abs=INTERVAL)
    assert bench.clock.stopped == pytest.approx(5.0, abs=INTERVAL)
    bench.time.now += 0.2
    bench.clock.end()
    assert bench.clock() - before == pytest.approx(0.2, abs=INTERVAL)


@pytest.mark.parametrize(
    "what",
    [
        {"cpu": 4.9},
        {"waited": 4.9},
        {"wakes": 900},
        {"seconds": 0.4},
    ],
)
def test_work_a_queue_the_lock_and_short_gaps_are_time(what: dict) -> None:
    bench = Bench()
    bench.gap(**{"seconds": 5.0, **what})
    assert bench.clock.stopped == 0


def test_where_the_system_does_not_say_all_is_time() -> None:
    bench = Bench()
    bench.done = None
    bench.gap(5.0)
    assert bench.clock.stopped == 0


CHILD = """
import sys, time
import torch
from benchmarks.meters.session import RunMeters
meters = RunMeters(torch.device("cpu"))
with meters.running():
    with meters.window("train"):
        time.sleep(0.4)
        print("now", flush=True)
        if sys.argv[1] == "wait":
            sys.stdin.readline()
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass
print(meters.train_seconds(), meters.facts()["machine"]["stopped"])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no schedstat")
def test_training_time_of_a_process_that_was_stopped() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, "wait"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "now\n"
        started = time.monotonic()
        child.send_signal(signal.SIGSTOP)
        time.sleep(2.0)
        child.send_signal(signal.SIGCONT)
        stopped = time.monotonic() - started
        out, _ = child.communicate("go\n", timeout=60)
    finally:
        child.kill()
        child.wait()
    seconds, left_out = map(float, out.split())
    assert left_out == pytest.approx(stopped, abs=0.3)
    assert 0.6 < seconds < stopped
