"""Every method of every family trains on a device that refuses to mix and logs what is waited for.

The runs are whole: planned, trained, validated, evaluated and costed, each in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.conformance.settings import GROUNDS
from benchmarks.launch.local import ForkServer, RunFailed
from benchmarks.launch.preload import preload_for_tasks
from methods import METHODS
from tasks.errors import UserError

HERE = Path(__file__).parent
STEPS = {"steps": 4}
OURS = ("benchmarks/", "methods/", "tasks/")
# Which blocks are iterated decides what is launched, and costs and weights are copied every time.
WAITING = {"mind"}
REFUSED = {
    ("optimal_depth", "detection"): "classification",
    ("optimal_depth", "segmentation"): "classification",
}


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    modules = (*preload_for_tasks(GROUNDS), "devices.fake_gpu", "devices.fake_runs")
    with ForkServer(modules) as server:
        yield server


def run(server: ForkServer, family: str, method: str, file: str | None = None, **recipe: Any):
    return server.call("devices.fake_runs:run", family, method, STEPS, recipe, file)


def of_ours(waits: dict[str, int]) -> dict[str, int]:
    return {place: n for place, n in waits.items() if place.split(" at ")[1].startswith(OURS)}


@pytest.mark.slow
@pytest.mark.parametrize("family", GROUNDS)
@pytest.mark.parametrize("method", METHODS.names())
def test_no_step_waits_for_the_device(server: ForkServer, method: str, family: str) -> None:
    if (method, family) in REFUSED:
        with pytest.raises(UserError, match=REFUSED[method, family]):
            run(server, family, method)
        return
    seen = run(server, family, method)
    assert seen["steps"] >= 2
    assert bool(of_ours(seen["waits"])) == (method in WAITING), seen["waits"]
    assert seen["missing"] == {}
