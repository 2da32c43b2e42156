from __future__ import annotations

import re
from dataclasses import replace

import pytest

from benchmarks.budget import Budget
from benchmarks.records.identity import run_id as names
from benchmarks.spec import RunSpec

SPEC = RunSpec(
    suite="mine", profile="smoke", task="classification",
    task_options={"dataset": "Digits/8x8", "arch": "small"}, method="replacement",
    method_options={"operator": "full", "every": 4}, seed=3, budget=Budget({"epochs": 2}),
)  # fmt: skip

DEFAULTS = {"operator": "light", "every": 4}


def run_id(spec: RunSpec, fingerprint: dict[str, str], *shown: str) -> str:
    return names.run_id(spec.to_dict(), fingerprint, *shown, defaults=DEFAULTS)


def test_an_id_reads_well_and_does_as_a_folder_name() -> None:
    wanted = r"digits-8x8-small-replacement-full-s3-[0-9a-f]{12}"
    assert re.fullmatch(wanted, run_id(SPEC, {}))
    assert run_id(SPEC, {}, "mnist", "resnet18").startswith("mnist-resnet18-replacement-full-")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "replacement"),
        ({"operator": "light"}, "replacement"),
        ({"operator": "full"}, "replacement-full"),
        ({"every": 2}, "replacement-every2"),
        ({"where": {"stage": 2}}, "replacement-where"),
        ({"operator": "full", "z" * 40: 1}, "replacement-full"),
    ],
)
def test_a_name_tells_the_options_that_are_not_the_defaults(
    options: dict[str, object], told: str
) -> None:
    spec = replace(SPEC, method_options=options)
    assert run_id(spec, {}).startswith(f"digits-8x8-small-{told}-s3-")


def test_names_and_the_order_of_options_make_no_other_run() -> None:
    turned = {"every": 4, "operator": "full"}
    for same in (
        replace(SPEC, suite="other"),
        replace(SPEC, label="RepL"),
        replace(SPEC, method_options=turned),
    ):
        assert run_id(same, {"a": 1, "b": 2}) == run_id(SPEC, {"b": 2, "a": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"method_options": {"operator": "light", "every": 4}},
        {"task_options": {"dataset": "Digits/8x8", "arch": "large"}},
        {"budget": Budget({"epochs": 3})},
        {"budget": Budget({"steps": 2})},
        {"recipe": {"batch_size": 8}},
        {"profile": "short"},
        {"device": "cpu"},
        {"validate_every": 2},
        {"threads": 1},
    ],
)
def test_whatever_can_change_a_number_makes_another_run(change: dict[str, object]) -> None:
    assert run_id(replace(SPEC, **change), {}) != run_id(SPEC, {})
    assert run_id(SPEC, {"torch": "2"}) != run_id(SPEC, {"torch": "3"})


def test_where_a_method_file_lies_does_not_matter() -> None:
    # What it holds is in the fingerprint.
    assert run_id(replace(SPEC, method_file="/a/own.py"), {}) == run_id(SPEC, {})
