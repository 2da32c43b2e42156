"""Every method of every family trains on a device that refuses to mix and logs what is waited for.

The runs are whole: planned, trained, validated, evaluated and costed, each in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from devices.places import of_ours

from benchmarks.conformance.settings import GROUNDS
from benchmarks.launch.local import ForkServer
from benchmarks.launch.preload import preload_for_tasks
from methods import METHODS, Method
from tasks.errors import UserError

HERE = Path(__file__).parent
STEPS = {"steps": 4}
# Which images are still iterated decides what is launched.
WAITING = {"mind"}
REFUSED = {
    ("optimal_depth", "detection"): "classification",
    ("optimal_depth", "segmentation"): "classification",
}
EXPLAINED = (
    *("NVML", "RAPL", "no CUDA device", "the split has no object of this size"),
    "no 'counted' time was recorded",
)
"""What reasons say of values that no fake device or tiny data set has."""


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    modules = (*preload_for_tasks(GROUNDS), "devices.fake_gpu", "devices.watched_runs")
    with ForkServer(modules) as server:
        yield server


def run(
    server: ForkServer,
    family: str,
    method: str,
    options: dict[str, Any] | None = None,
    file: Path | None = None,
    **recipe: Any,
) -> dict[str, Any]:
    call = ("devices.watched_runs:run", "devices.fake_gpu", family, method, STEPS, recipe)
    return server.call(*call, options or {}, file)


def trains_in_its_own_way(method: str) -> bool:
    """Else harness and task decide what a step waits for, and the surgery is the same in all."""
    kind = METHODS.get(method)
    parts = ("train_step", "hooks", "phases", "setup")
    return any(getattr(kind, part) is not getattr(Method, part) for part in parts)


CASES = [
    (method, family)
    for method in METHODS.names()
    for family in GROUNDS
    if method != "compose"  # whose parts are tried by themselves
    if family == "classification" or method == "end_to_end" or trains_in_its_own_way(method)
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "family"), CASES)
def test_no_step_waits_for_the_device(server: ForkServer, method: str, family: str) -> None:
    if (method, family) in REFUSED:
        with pytest.raises(UserError, match=REFUSED[method, family]):
            run(server, family, method)
        return
    seen = run(server, family, method)
    assert seen["steps"] >= 2
    assert bool(of_ours(seen["waits"])) == (method in WAITING), seen["waits"]
    unexplained = {
        metric: reason
        for metric, reason in seen["missing"].items()
        if not any(told in reason for told in EXPLAINED)
    }
    assert unexplained == {}


@pytest.mark.parametrize(
    "recipe",
    [
        {"clip_grad": {"max_norm": 1.0}, "accumulate": 2},
        {"channels_last": True},
        {
            "optimizer": {"type": "AdamW", "lr": 0.001},
            "clip_grad": {"clip_value": 1.0, "type": "value"},
        },
    ],
    ids=["clipped_and_accumulated", "channels_last", "adamw"],
)
def test_no_recipe_makes_a_step_wait(server: ForkServer, recipe: dict[str, Any]) -> None:
    seen = run(server, "classification", "end_to_end", **recipe)
    assert seen["steps"] >= 2
    assert seen["launches"] > 50 * seen["steps"]
    assert seen["waits"] == {}


def test_mind_waits_for_the_images_that_still_move_alone(server: ForkServer) -> None:
    seen = run(server, "classification", "mind", {"compaction": False})
    assert seen["steps"] >= 2
    assert seen["waits"] == {}


def test_a_method_that_mixes_devices_fails(server: ForkServer) -> None:
    with pytest.raises(UserError, match=r"MixedDevices: \w+ at tests/devices/careless.py:\d+"):
        run(server, "classification", "mixing", file=HERE / "careless.py")


def test_a_method_that_waits_in_its_step_is_found(server: ForkServer) -> None:
    seen = run(server, "classification", "waiting", file=HERE / "careless.py")
    ((place, times),) = seen["waits"].items()
    assert place.startswith("_local_scalar_dense at tests/devices/careless.py:")
    assert times == seen["steps"]


def test_the_first_step_on_a_gpu_tells_nothing_of_the_others(server: ForkServer) -> None:
    seen = run(server, "classification", "slow_start", file=HERE / "careless.py")
    assert 0 < seen["planned_seconds"] < 0.5 * 2 * STEPS["steps"]
