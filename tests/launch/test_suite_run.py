"""Driving a suite: failures are rows, finished runs stay, an interrupted suite goes on."""

from __future__ import annotations

import json
import re
import shutil
import signal
import threading
from dataclasses import replace

import pytest
from launch import fake_runs

from benchmarks.analysis.load import read_folder
from benchmarks.budget import Budget
from benchmarks.engine.stopping import Stopped, exit_code, stop_signals
from benchmarks.launch.local import ForkServer
from benchmarks.launch.suite_run import Job, Observer, SuiteRun, recorded_plan
from benchmarks.records.store import Store, read_rows
from benchmarks.suite import MethodEntry, Suite, TaskEntry
from tasks.errors import UserError


@pytest.fixture(scope="module")
def server():
    with ForkServer([]) as running:
        yield running


def make_suite(methods: dict[str, dict], seeds=(0,)) -> Suite:
    entries = tuple(MethodEntry("plain", options, label) for label, options in methods.items())
    return Suite("fake", (TaskEntry("my_digits"),), entries, Budget({"epochs": 1}), seeds=seeds)


class Recorder(Observer):
    def __init__(self, interrupt_at_note: bool = False) -> None:
        self.lines: list[tuple] = []
        self.outcomes = {}
        self.damage: list[str] = []
        self._interrupt = interrupt_at_note

    def started(self, job):
        self.lines.append(("started", job.label))

    def found_damage(self, sentence):
        self.damage.append(sentence)

    def event(self, job, event):
        self.lines.append((event["event"], job.label))
        if self._interrupt and event.get("text") == "waiting":
            threading.Timer(0.1, signal.raise_signal, [signal.SIGINT]).start()

    def ended(self, outcome):
        self.lines.append(("ended", outcome.job.label))
        self.outcomes[outcome.job.label] = outcome


@pytest.fixture
def drive(server, tmp_path):
    """Run a suite of fake methods in one results directory, as one invocation would."""

    def invoke(methods, seeds=(0,), recorder=None, **options):
        suite = make_suite(methods, seeds)
        specs = [spec.to_dict() for spec in suite.specs()]
        jobs = [Job(planned) for planned in fake_runs.plan_runs(specs, print, estimate=True)]
        store, recorder = Store(tmp_path / "results"), recorder or Recorder(**options)
        published = []
        plan = recorded_plan(suite, jobs)
        driver = SuiteRun(jobs, plan, store, server, published.append, fake_runs.execute)
        try:
            rows = driver.run(recorder)
        except KeyboardInterrupt:
            rows = None
        return driver, rows, recorder, published

    return invoke


def calls(driver, run_id):
    return (driver._store.run_dir(run_id) / "calls.txt").read_text().splitlines()


@pytest.mark.parametrize("when", ["started", "ended"])
@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_results_folder_that_vanishes_is_an_error(drive, tmp_path, when, how):
    class Removing(Recorder):
        def remove(self):
            if (tmp_path / "results").exists() and not (tmp_path / "elsewhere").exists():
                (tmp_path / "results").rename(tmp_path / "elsewhere")
                if how == "replaced":
                    (tmp_path / "results").mkdir()

        def started(self, job):
            if when == "started":
                self.remove()

        def ended(self, outcome):
            if when == "ended":
                self.remove()

    with pytest.raises(UserError, match="results was removed, renamed or replaced while"):
        drive({"a": {}, "b": {}}, recorder=Removing())
    assert not list(tmp_path.glob("results/*")), "nothing is made again where the folder was"


def test_signals_that_are_ignored_stay_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals():
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(Stopped) as stop:
                signal.raise_signal(signal.SIGUSR1)
        assert exit_code(stop.value) == 128 + signal.SIGUSR1
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_every_run_lands_in_rows_csv_in_plan_order(drive):
    driver, rows, recorder, published = drive({"a": {}, "b": {}}, seeds=(0, 1))
    assert [(row.method, row.seed, row.value) for row in rows] == [
        ("a", 0, 70.0),
        ("b", 0, 70.0),
        ("a", 1, 71.0),
        ("b", 1, 71.0),
    ]
    store = driver._store
    assert read_rows(store.rows_path) == rows
    assert recorder.lines[:4] == [
        ("started", "a"),
        ("progress", "a"),
        ("note", "a"),
        ("ended", "a"),
    ]
    assert len(published) == 5  # once at the start, once a run
    assert store.plan().runs[0].run_id == "a-0"
    assert "hello from a" in recorder.outcomes["a"].log.read_text()
    pids = {calls(driver, run.run_id)[0] for run in store.plan().runs}
    assert len(pids) == 4


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("raise", "ValueError: loss is NaN"),
        ("mistake", "the data vanished"),
        ("die", "killed by SIGKILL (out of memory?)"),
        ("leave", "exited with code 0 and no result"),
    ],
)
def test_a_failing_run_becomes_a_row_and_the_rest_goes_on(drive, act, reason):
    driver, rows, recorder, _ = drive({"good": {}, "bad": {"act": act}, "last": {}})
    assert [(row.method, row.status) for row in rows] == [
        ("good", "ok"),
        ("bad", "failed"),
        ("last", "ok"),
    ]
    bad = rows[1]
    assert (bad.metric, bad.value, bad.reason) == ("top1", None, reason)
    assert {row.task for row in rows} == {"classification"}, "the family, not the suite's name"
    assert [outcome.reason for outcome in driver.failures()] == [reason]
    assert driver.finished() == 2
    manifest = driver._store.manifest("bad-0")
    assert (manifest["status"], manifest["reason"]) == ("failed", reason)
    assert manifest["spec"]["label"] == "bad"
    assert recorder.outcomes["good"].reason == ""


def test_finished_runs_are_not_run_twice_and_failed_ones_are_tried_again(drive, tmp_path):
    mended = tmp_path / "mended"
    methods = {"good": {}, "bad": {"act": "raise", "until": str(mended)}}
    drive(methods)
    mended.touch()
    driver, rows, recorder, _ = drive(methods)
    assert len(calls(driver, "good-0")) == 1
    assert len(calls(driver, "bad-0")) == 2
    assert [row.status for row in rows] == ["ok", "ok"]
    assert ("started", "good") not in recorder.lines
    again, rows, recorder, _ = drive(methods)
    assert recorder.lines == []
    assert len(rows) == 2
    assert again.finished() == 2


def test_an_interrupted_suite_keeps_what_is_done_and_goes_on_from_there(drive, tmp_path):
    go = tmp_path / "go"
    methods = {"first": {}, "second": {"act": "wait", "until": str(go)}, "third": {}}
    driver, rows, _, _ = drive(methods, interrupt_at_note=True)
    assert rows is None
    assert driver.finished() == 1
    assert [row.method for row in read_rows(driver._store.rows_path)] == ["first"]
    assert not driver.failures()
    go.touch()
    driver, rows, recorder, _ = drive(methods)
    assert [label for what, label in recorder.lines if what == "started"] == ["second", "third"]
    assert [row.method for row in rows] == ["first", "second", "third"]
    assert len(calls(driver, "first-0")) == 1


def test_two_entries_that_are_the_same_run_are_run_once(server, tmp_path):
    suite = make_suite({"a": {}})
    planned = fake_runs.plan_runs([suite.specs()[0].to_dict()], print)[0]
    jobs = [Job(planned), Job({**planned, "label": "alias"})]
    store = Store(tmp_path)
    plan = recorded_plan(suite, jobs)
    driver = SuiteRun(jobs, plan, store, server, lambda folder: None, fake_runs.execute)
    rows = driver.run(Observer())
    assert len(calls(driver, "a-0")) == 1
    assert [row.method for row in rows] == ["a", "alias"]


def test_a_damaged_run_is_set_aside_and_run_again(drive):
    driver, _, _, _ = drive({"a": {}})
    file = driver._store.run_dir("a-0") / "rows.csv"
    file.write_text(file.read_text().replace("70.0", "99.0"))
    driver, rows, _, _ = drive({"a": {}})
    assert rows[0].value == 70.0
    assert "99.0" in (driver._store.path / "runs" / "a-0.damaged-1" / "rows.csv").read_text()


DAMAGED = {
    "rows": ("runs/a-1/rows.csv", lambda text: text.replace("71.0", "99.0"), "a-1/rows.csv is not"),
    "no rows": ("runs/a-1/rows.csv", lambda text: None, "a-1/rows.csv is missing"),
    "manifest": ("runs/a-1/manifest.json", lambda text: "{}", "a-1/manifest.json is not"),
    "no manifest": ("runs/a-1/manifest.json", lambda text: None, "a-1/manifest.json is missing"),
    "curve": ("runs/a-1/curve.csv", lambda text: "", "a-1/curve.csv is not"),
    "digest": ("runs/a-1/digest.json", lambda text: "{}", "a-1/digest.json is damaged"),
    "index": ("rows.csv", lambda text: text.replace("71.0", "99.0"), "results/rows.csv has other"),
    "plan": ("plan.json", lambda text: text.replace("short", "paper"), "plan.json is not the file"),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_what_was_changed_since_is_named_and_made_anew(drive, how):
    name, change, names = DAMAGED[how]
    driver, before, _, _ = drive({"a": {}, "b": {}}, seeds=(0, 1))
    file = driver._store.path / name
    text = change(file.read_text())
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    with pytest.raises(UserError, match=re.escape(names)):
        read_folder(driver._store.path)
    _, rows, recorder, _ = drive({"a": {}, "b": {}}, seeds=(0, 1))
    (sentence,) = recorder.damage
    assert names in sentence
    assert rows == before
    assert read_folder(driver._store.path).rows == rows
    started = [what for what, _ in recorder.lines if what == "started"]
    assert len(started) == (1 if name.startswith("runs") else 0)
    assert drive({"a": {}, "b": {}}, seeds=(0, 1))[2].damage == []


def test_a_run_that_lost_its_digest_alone_is_not_believed(drive):
    driver, before, _, _ = drive({"a": {}})
    folder = driver._store.run_dir("a-0")
    (folder / "digest.json").unlink()
    (folder / "rows.csv").write_text((folder / "rows.csv").read_text().replace("70.0", "99.0"))
    _, rows, recorder, _ = drive({"a": {}})
    assert ("started", "a") in recorder.lines
    assert rows == before


@pytest.mark.parametrize("status", ["running", "finished"])
def test_a_half_done_run_in_the_folder_of_another_is_not_resumed(drive, status):
    """It would be finished from the checkpoint of the other, under this one's id."""
    driver, before, _, _ = drive({"a": {}, "b": {}})
    folder, other = driver._store.run_dir("a-0"), driver._store.run_dir("b-0")
    (other / "digest.json").unlink()
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "status": status}))
    shutil.rmtree(folder)
    other.rename(folder)
    _, rows, recorder, _ = drive({"a": {}, "b": {}})
    (sentence,) = recorder.damage
    assert "holds the run b-0" in sentence
    assert "a-0.damaged-1" in sentence
    assert len((folder / "calls.txt").read_text().splitlines()) == 1
    assert rows == before


def test_records_that_change_while_the_suite_runs_end_it_with_a_sentence(drive, tmp_path):
    class Careless(Recorder):
        def started(self, job):
            super().started(job)
            if job.label == "b":
                file = tmp_path / "results" / "runs" / "a-0" / "rows.csv"
                file.write_text(file.read_text().replace("70.0", "99.0"))

    with pytest.raises(UserError, match=r"the records of a-0 in .* were changed while the suite"):
        drive({"a": {}, "b": {}}, recorder=Careless())
    _, rows, _, _ = drive({"a": {}, "b": {}})
    assert [row.value for row in rows] == [70.0, 70.0]


def test_while_a_failed_run_is_repeated_the_index_is_that_of_the_others(drive, tmp_path):
    fixed = tmp_path / "fixed"
    methods = {"good": {}, "bad": {"act": "raise", "until": str(fixed)}}
    drive(methods)
    fixed.touch()
    seen = []

    class Reader(Recorder):
        def event(self, job, event):
            results = read_folder(tmp_path / "results")
            seen.append(([run.method for run in results.runs], results.unfinished))

    drive(methods, recorder=Reader())
    assert set(map(repr, seen)) == {repr((["good"], 1))}


def test_a_label_may_change_without_another_training(drive, tmp_path, server):
    driver, _, _, _ = drive({"a": {}})
    (job,) = driver.jobs
    plan = replace(driver._plan, runs=(replace(driver._plan.runs[0], label="renamed"),))
    again = SuiteRun([job], plan, driver._store, server, lambda folder: None, fake_runs.execute)
    recorder = Recorder()
    again.run(recorder)
    assert (recorder.lines, recorder.damage) == ([], [])
    assert read_folder(driver._store.path).rows[0].method == "renamed"


def test_a_folder_of_a_newer_version_is_left_as_it_is(drive):
    driver, _, _, _ = drive({"a": {}})
    for name in ("plan.json", "runs/a-0/digest.json"):
        file = driver._store.path / name
        text = file.read_text()
        file.write_text(text.replace('"schema": 2', '"schema": 3'))
        with pytest.raises(UserError, match="is of schema 3, and this version"):
            drive({"a": {}})
        file.write_text(text)
    assert len(list((driver._store.path / "runs").iterdir())) == 1


def test_headlines_are_the_test_values_of_each_variant(drive):
    _, _, recorder, _ = drive({"a": {"gives": {"super": 72.5, "base": 70.0}}})
    assert recorder.outcomes["a"].headlines() == {"super": 72.5, "base": 70.0}


def test_the_plan_says_which_runs_are_the_baseline_s(server, monkeypatch):
    from benchmarks.launch.suite_run import plan_suite

    monkeypatch.setattr(
        server,
        "call",
        lambda function, specs, finished, on_event, log: fake_runs.plan_runs(specs, print),
    )
    suite = make_suite({"a": {}, "b": {"gives": {"full": 1.0}}}, seeds=(0, 1))
    assert [job.baseline for job in plan_suite(server, suite)] == [True, False, True, False]
    assert json.dumps([dict(job.planned) for job in plan_suite(server, suite)])
