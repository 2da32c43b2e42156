"""torch.compile is refused in a sentence where it cannot work, and one device is all there is."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.budget import Budget
from benchmarks.engine.building import build_run
from benchmarks.spec import RunSpec
from tasks.errors import UserError


def spec(method: str, options: dict[str, Any], **recipe: Any) -> RunSpec:
    return RunSpec(
        suite="tiny",
        profile="smoke",
        task="classification",
        task_options={"dataset": "digits", "arch": "cifar_resnet8"},
        method=method,
        method_options=options,
        seed=0,
        budget=Budget({"steps": 1}),
        recipe=recipe,
        device="cpu",
        threads=1,
    )


@pytest.mark.parametrize(
    ("method", "options", "told"),
    [
        ("mind", {}, "breaks the graph"),
        ("checkpointing", {}, "running statistics"),
        ("optimal_depth", {"target_accuracy": 90}, "give fixed_depth"),
    ],
)
def test_compile_is_refused_with_the_reason(
    method: str, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(
        UserError, match=f"^{method} cannot be trained with compile: true: .*{told}"
    ):
        build_run(spec(method, options, compile=True))
    build_run(spec(method, options))


@pytest.mark.parametrize("method", ["replacement", "adaptive_depth", "end_to_end"])
def test_other_methods_may_be_compiled(method: str) -> None:
    assert build_run(spec(method, {}, compile=True)).recipe.compile
    fixed = spec("optimal_depth", {"fixed_depth": 2}, compile=True)
    assert build_run(fixed).recipe.compile


def test_a_launcher_of_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="WORLD_SIZE is 4, and a run trains on one device"):
        build_run(spec("end_to_end", {}))
    monkeypatch.setenv("WORLD_SIZE", "1")
    build_run(spec("end_to_end", {}))
