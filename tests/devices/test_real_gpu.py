"""On a real GPU: steps that wait for nothing, and two ways to measure energy that agree."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch
from devices.places import of_ours

from benchmarks.conformance.settings import GROUNDS
from benchmarks.launch.local import ForkServer
from benchmarks.launch.preload import preload_for_tasks
from benchmarks.meters.energy import EnergyMeter
from methods import METHODS

STEPS = {"steps": 6}
# Which images are still iterated decides what is launched.
WAITING = {"mind"}
CLASSIFICATION_ONLY = {"optimal_depth"}

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer((*preload_for_tasks(GROUNDS), "devices.watched_runs")) as server:
        yield server


@pytest.mark.parametrize("family", GROUNDS)
@pytest.mark.parametrize("method", [name for name in METHODS.names() if name != "compose"])
def test_no_step_waits_for_the_device(server: ForkServer, method: str, family: str) -> None:
    if method in CLASSIFICATION_ONLY and family != "classification":
        pytest.skip(f"{method} has no {family}")
    call = ("devices.watched_runs:run", "devices.real_gpu", family, method, STEPS, {}, {}, None)
    seen = server.call(*call)
    assert seen["steps"] >= 2
    assert bool(of_ours(seen["waits"])) == (method in WAITING), seen["waits"]
    missing = {metric for metric, reason in seen["missing"].items() if "no CUDA" in reason}
    assert missing == set()


def test_the_counter_and_the_integral_of_power_agree() -> None:
    """Windows of some seconds: the counter moves every 0.1 s, and power is a moving average."""
    matrix = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)
    meter = EnergyMeter("cuda:0")
    idle = meter.measure_idle(1.0)

    def work(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(100):
                matrix @ matrix
            torch.cuda.synchronize()

    meter.start()
    with meter.window("warm_up"):
        work(2.0)
    with meter.window("train"):
        work(5.0)
    counter, integral = meter.joules()["train"], meter.joules(source="integrated")["train"]
    meter.stop()
    assert counter is not None
    assert idle is not None
    assert counter > 5.0 * idle
    assert integral == pytest.approx(counter, rel=0.05)
