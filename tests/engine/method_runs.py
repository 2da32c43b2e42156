"""Real runs on digits of a method that a test defines, and their rows."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from benchmarks.budget import Budget
from benchmarks.conformance.subject import contained
from benchmarks.engine import run as run_module
from benchmarks.engine.run import execute
from benchmarks.launch.planning import plan_runs
from benchmarks.spec import RunSpec
from methods import METHODS, Method

BATCH = 32
Values = dict[tuple[str, str], float | None]


@contextmanager
def registered(kind: type[Method]) -> Iterator[None]:
    METHODS.register("tried")(kind)
    try:
        yield
    finally:
        del METHODS._objects["tried"]


def rows_of(
    folder,
    kind: type[Method],
    budget: dict[str, float],
    tried: bool = False,
    costed: bool = False,
    **more: Any,
) -> Values:
    """The rows of a run on digits that belong to no variant.

    Args:
        tried: make steps while planning.
        costed: take the costs of the deployable networks, too.
    """
    fields = {
        "suite": "tiny",
        "profile": "smoke",
        "task": "classification",
        "task_options": {"dataset": "digits", "arch": "cifar_resnet8"},
        "method": "tried",
        "method_options": {},
        "seed": 0,
        "budget": Budget(budget),
        "recipe": {"batch_size": BATCH},
        "device": "cpu",
        "threads": 1,
    }
    spec = RunSpec(**{**fields, **more})
    with registered(kind), contained():
        (plan,) = plan_runs([spec.to_dict()], lambda event: None, estimate=tried)
        with pytest.MonkeyPatch.context() as patch:
            if not costed:
                patch.setattr(run_module, "variant_costs", lambda built, network: [])
            execute(plan, str(folder / "run"), lambda event: None)
    with open(folder / "run" / "rows.csv", newline="") as file:
        return {
            (r["metric"], r["phase"]): float(r["value"]) if r["value"] else None
            for r in csv.DictReader(file)
            if not r["variant"]
        }


class Plain(Method):
    changes_nothing = True

    def prepare(self, model):
        return model
