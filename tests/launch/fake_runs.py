"""Runs without torch, for the tests of what drives a suite."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from benchmarks.records.row import Measurement, Row
from benchmarks.records.store import write_finished_run
from tasks.errors import UserError


def execute(planned, run_folder, report):
    """Do what ``method_options`` of the spec say, and leave a finished run folder."""
    folder, spec = Path(run_folder), planned["spec"]
    options = spec["method_options"]
    with open(folder / "calls.txt", "a") as calls:
        calls.write(f"{os.getpid()}\n")
    print("hello from", planned["label"])
    flag = options.get("until")
    if options.get("act") and not (flag and Path(flag).exists()):
        act(options["act"], report)
    report({"event": "progress", "phase": "train", "batch": 3, "batches": 4})
    report({"event": "note", "text": "nearly there"})
    identity = {
        "suite": spec["suite"],
        "run_id": planned["run_id"],
        "task": "classification",
        "dataset": planned["dataset"],
        "arch": planned["arch"],
        "method": planned["label"],
        "seed": spec["seed"],
        "phase": "test",
    }
    rows = [
        Row.of(Measurement("top1", value + spec["seed"]), variant=variant, **identity)
        for variant, value in options.get("gives", {"full": 70.0}).items()
    ]
    (folder / "curve.csv").write_text("phase,epoch,step,top1\ntrain,1,4,70.0\n")
    write_finished_run(folder, rows, {"run_id": planned["run_id"], "spec": spec})


def act(what, report):
    if what == "raise":
        raise ValueError("loss is NaN")
    if what == "mistake":
        raise UserError("the data vanished")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "leave":
        os._exit(0)
    if what == "wait":
        report({"event": "note", "text": "waiting"})
        time.sleep(60)


def plan_runs(specs, report, estimate=False):
    """``benchmarks.launch.planning.plan_runs`` without building anything."""
    if any(spec["method_options"].get("act") == "refuse" for spec in specs):
        raise UserError("no such data set")
    return [
        {
            "run_id": f"{spec['label']}-{spec['seed']}",
            "label": spec["label"],
            "spec": spec,
            "fingerprint": {},
            "headline": "top1",
            "task": "classification",
            "dataset": "digits",
            "arch": "resnet8",
            "batches": None if "seconds" in spec["budget"] else 4,
            "expected_batches": 12 if "seconds" in spec["budget"] else 4,
            "seconds": 2.0 if estimate else None,
        }
        for spec in specs
    ]


def plan(specs, finished, report):
    """What a suite's planning process calls."""
    return plan_runs(specs, report, estimate=True)
