"""Whether a busy machine is seen, and a quiet one is not taken for one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from meters.fake_nvml import VirtualClock
from meters.fake_proc import TICK, FakeProc

from benchmarks.meters.contention import Contention, ContentionMeter, Watch, busy_reason
from benchmarks.meters.machine import Machine
from benchmarks.records.row import BUSY, Measurement, busy_note, is_busy


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path)


class Bench:
    """A meter on a machine of our own."""

    def __init__(self, proc: FakeProc) -> None:
        self.proc, self.clock = proc, VirtualClock()
        self.meter = self.new_meter()

    def new_meter(self) -> ContentionMeter:
        proc = self.proc
        machine = Machine(proc.root, proc.cgroups, proc.cores, TICK, self.clock)
        return ContentionMeter(machine, interval=None)

    def busy(self, metric: str, phase: str = "train") -> str:
        return busy_note(self.meter.flagged(phase, Measurement(metric, 1.0, "a note")).reason)

    def window(self, name: str, seconds: float = 10.0, **after: Any) -> Contention:
        with self.meter.window(name):
            self.clock.now += seconds
            self.proc.process("self", after.get("cpu", 0.0), {"10": after.get("waited", 0.0)})
            self.proc.used(after.get("used", 0.0), after.get("elsewhere", 0.0))
        return self.meter.found(window=name)


def test_the_figures_of_a_window_are_differences(proc: FakeProc) -> None:
    bench = Bench(proc)
    proc.process("self", 3.0, {"10": 1.0, "11": 0.5}, children=("20",))
    proc.process("20", 1.0, {"20": 0.25})
    proc.used(7.0, 2.0, steal=0.2, running=3)
    proc.pressure(1.0)
    proc.throttled(0.5)
    proc.load(2.5)
    bench.meter = bench.new_meter()
    with bench.meter.window("train"):
        bench.clock.now += 10.0
        proc.process("self", 8.0, {"10": 2.0, "11": 0.75}, children=("20",))
        proc.process("20", 3.0, {"20": 1.25})
        proc.used(20.0, 6.0, steal=0.8, running=5)
        proc.pressure(4.0)
        proc.throttled(0.75)
        proc.load(3.5)
    found = bench.meter.found("train", "train")
    assert found == Contention(
        seconds=10.0,
        waited=pytest.approx(1.0 + 0.25 + 1.0),
        cpu=pytest.approx(7.0),
        others=pytest.approx(13.0 - 7.0),
        others_machine=pytest.approx(17.0 - 7.0),
        steal=pytest.approx(0.6),
        throttled=pytest.approx(0.25),
        pressure=pytest.approx(3.0),
        runnable=pytest.approx(40.0),
        load=3.5,
    )


def test_waiting_of_threads_that_have_ended_counts(proc: FakeProc) -> None:
    machine = Machine(proc.root, proc.cgroups, proc.cores, TICK, VirtualClock())
    proc.process("self", 0.0, {"10": 1.0, "11": 2.0})
    assert machine.read().waited == pytest.approx(3.0)
    proc.process("self", 0.0, {"10": 1.5})
    assert machine.read().waited == pytest.approx(3.5)
    proc.process("self", 0.0, {"10": 1.5, "11": 0.25})  # the number is used again
    assert machine.read().waited == pytest.approx(3.75)


def test_threads_that_waited_for_cores_of_others_flag_the_window(proc: FakeProc) -> None:
    proc.load(4.1)
    bench = Bench(proc)
    bench.window("train", cpu=7.0, waited=3.1, used=20.0)
    assert bench.busy("train_time") == (
        "busy machine: threads waited 3.1 s in 10 s for a core, load 4.1 on 2 cores"
    )
    for metric in ("total_time", "data_time", "energy_gpu_counter", "energy_cpu_package"):
        assert bench.busy(metric)
    # Other windows and phases, and what is no time or energy, have nothing to do with it.
    for metric in ("eval_time", "energy_gpu_counter@evaluate", "mem_peak_resident", "epoch_time"):
        assert not bench.busy(metric)
    assert not bench.busy("train_time", phase="search")
    missing = bench.meter.flagged("train", Measurement("train_time", None, "no clock"))
    assert missing.reason == "no clock"


@pytest.mark.parametrize(
    ("why", "after"),
    [
        ("asleep, as a run on a GPU or one that waits for data", {"cpu": 0.5, "used": 0.6}),
        ("more threads than cores", {"cpu": 19.8, "waited": 20.0, "used": 20.0}),
        ("others have cores to spare", {"cpu": 10.0, "waited": 0.1, "used": 19.0}),
        ("others on cores that are not ours", {"cpu": 19.9, "waited": 9.0, "used": 20.0,
                                               "elsewhere": 20.0}),
        ("the odd daemon", {"cpu": 19.6, "waited": 0.3, "used": 20.0}),
    ],
)  # fmt: skip
def test_a_quiet_machine_is_not_flagged(proc: FakeProc, why: str, after: dict) -> None:
    bench = Bench(proc)
    bench.window("train", **after)
    assert not bench.busy("train_time"), why


def test_a_load_of_others_beyond_the_cores_flags_though_nothing_waited() -> None:
    """A run on a GPU sleeps; when it wakes, it finds caches and cores of others."""
    loud = Contention(10.0, waited=0.1, cpu=0.5, others=19.0, runnable=45.0, load=4.5)
    assert busy_reason(loud, 2) == (
        "busy machine: other processes had 4.4 runnable threads, load 4.5 on 2 cores"
    )
    assert not busy_reason(Contention(10.0, 0.1, cpu=0.5, others=19.0, runnable=18.0), 2)
    # Threads of our own, a burst that used no CPU time, and a load average from before.
    assert not busy_reason(Contention(10.0, 20.0, cpu=20.0, others=0.1, runnable=40.0), 2)
    assert not busy_reason(Contention(10.0, 0.1, cpu=0.5, others=1.0, runnable=45.0), 2)
    assert not busy_reason(Contention(10.0, 0.1, cpu=9.5, others=0.2, runnable=10.0, load=9.0), 2)


def test_steal_and_the_limit_of_a_control_group_flag(proc: FakeProc) -> None:
    stolen = Contention(seconds=10.0, cpu=9.0, steal=1.0, load=1.0)
    assert "the hypervisor took 10% of the CPU time" in busy_reason(stolen, 2)
    assert not busy_reason(Contention(seconds=10.0, cpu=10.0, steal=0.1), 2)
    limited = Contention(seconds=10.0, cpu=5.0, waited=5.0, throttled=4.0)
    assert "4 s of it by the CPU limit of the control group" in busy_reason(limited, 2)


def test_energy_of_the_cpu_holds_what_others_drew(proc: FakeProc) -> None:
    bench = Bench(proc)
    bench.window("train", cpu=10.0, used=10.1, elsewhere=10.0)
    assert "50% of the CPU time was that of other processes" in bench.busy("energy_cpu_package")
    assert not bench.busy("train_time")
    assert not bench.busy("energy_gpu_counter")


def test_energy_says_how_long_the_process_was_stopped_in_it(proc: FakeProc) -> None:
    bench = Bench(proc)
    with bench.meter.window("train"):
        bench.meter.clock.stopped += 3.0
        state = json.loads(json.dumps(bench.meter.state_dict()))
    bench.meter = bench.new_meter()
    bench.meter.load_state_dict(state)
    energy = bench.meter.flagged("train", Measurement("energy_gpu_counter", 1.0, "a note"))
    assert energy.reason == "a note; 3.0 s in which the process was stopped included"
    assert bench.meter.flagged("train", Measurement("train_time", 1.0)).reason == ""
    assert bench.meter.facts()["stopped"] == 3.0
    # Seconds that a caller timed by another clock have a stop in them, if it fits.
    bench.meter.clock.stopped += 3.0
    assert bench.meter.without_stop(3.25) == 0.25
    assert bench.meter.without_stop(3.25) == 3.25
    bench.meter.clock.stopped += 3.0
    assert bench.meter.without_stop(0.25) == 0.25


def test_where_waiting_is_not_told_pressure_or_the_crowd_stand_in(proc: FakeProc) -> None:
    crowd = Contention(seconds=10.0, waited=None, pressure=None, others=8.0, runnable=40.0)
    assert "threads of the machine waited 8 s in 10 s" in busy_reason(crowd, 2)
    assert not busy_reason(Contention(10.0, None, pressure=None, others=8.0, runnable=19.0), 2)
    assert busy_reason(Contention(10.0, None, pressure=6.0, others=8.0), 2)
    assert not busy_reason(Contention(10.0, None, pressure=6.0, others=0.2), 2)


def test_files_that_are_absent_are_unknown_and_not_quiet(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "none", tmp_path / "none", (0, 1), TICK, VirtualClock())
    meter = ContentionMeter(machine, interval=None)
    with meter.window("train"):
        pass
    (window,) = json.loads(json.dumps(meter.facts()))["windows"]["train"].values()
    for figure in ("waited", "cpu", "others", "steal", "throttled", "pressure", "load"):
        assert window[figure] is None
    assert window["busy"] == "unknown"
    assert not busy_note(meter.flagged("train", Measurement("train_time", 1.0)).reason)


def test_a_sandbox_that_shows_zeros_is_unknown(proc: FakeProc) -> None:
    proc.used(-10.0, -10.0)
    reading = Machine(proc.root, proc.cgroups, proc.cores, TICK, VirtualClock()).read()
    assert (reading.busy, reading.steal) == (None, None)


def test_the_flag_survives_a_resume(proc: FakeProc) -> None:
    bench = Bench(proc)
    proc.used(1.0, 0.0)
    bench.window("train", cpu=7.0, waited=3.1, used=21.0)
    state = json.loads(json.dumps(bench.meter.state_dict()))
    bench.meter = bench.new_meter()
    bench.meter.load_state_dict(state)
    assert "3.1 s in 10 s" in bench.busy("train_time")
    # A long quiet stretch makes the disturbance small.
    bench.window("train", seconds=990.0, cpu=997.0, waited=3.1, used=1011.0)
    assert bench.meter.found().seconds == pytest.approx(1000.0)
    assert not bench.busy("train_time")


def test_one_function_tells_flagged_rows() -> None:
    flagged = Measurement("train_time", 1.0, f"0.1 s of it waiting for data; {BUSY}: load 4.1")
    assert is_busy(flagged)
    assert busy_note(flagged.reason) == f"{BUSY}: load 4.1"
    assert not is_busy(Measurement("train_time", 1.0, "of a machine that was not a busy machine"))
    assert not is_busy(Measurement("train_time", None, f"{BUSY}: no value"))


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Processes that hold the cores; only ours are ended."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


SPIN = """
import json, subprocess, sys, time
from dataclasses import asdict
from benchmarks.meters.contention import between, busy_reason
from benchmarks.meters.machine import Machine
machine = Machine()
start = machine.read()
until = time.monotonic() + float(sys.argv[1])
while time.monotonic() < until:
    if sys.argv[2] == "sleep":
        time.sleep(0.05)
found = between(start, machine.read())
print(json.dumps({"busy": busy_reason(found, len(machine.cores)), **asdict(found)}))
"""


def spin(seconds: float, how: str = "spin") -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SPIN, str(seconds), how], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="no schedstat here")
def test_on_this_machine_loops_of_others_flag_and_sleep_alone_does_not() -> None:
    with busy_loops(2 * len(Machine().cores)):
        found = spin(0.7)
    assert found["busy"].startswith(f"{BUSY}: threads waited"), found
    assert 0 < found["waited"] < found["seconds"]
    assert found["others"] > 0.2
    slept = spin(0.7, "sleep")
    assert slept["cpu"] < 0.5 * slept["seconds"]
    # Whoever else runs here may really hold the cores.
    if max(slept["waited"], slept["others"]) <= 0.05 * slept["seconds"]:
        assert slept["busy"] == ""


def test_a_watch_tells_how_much_was_lost(proc: FakeProc) -> None:
    clock = VirtualClock()
    watch = Watch(Machine(proc.root, proc.cgroups, proc.cores, TICK, clock))
    clock.now += 10.0
    proc.process("self", 7.0, {"10": 3.0})
    proc.used(20.0, 0.0)
    share, reason = watch.verdict()
    assert share == pytest.approx(0.3)
    assert reason.startswith(BUSY)
