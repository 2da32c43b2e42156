"""What a table shows of a metered budget and of a target, and how phases add up in it."""

from __future__ import annotations

import pytest

from benchmarks.analysis.columns import Column, column_for, default_columns
from benchmarks.analysis.summary import summarise
from benchmarks.records.row import Measurement, Row


def row(metric, value, phase="train", variant="", reason=""):
    return Row.of(
        Measurement(metric, value, reason),
        suite="s",
        run_id="r",
        task="classification",
        dataset="digits",
        arch="net",
        method="ours",
        variant=variant,
        seed=0,
        phase=phase,
    )


def shown(rows):
    return [column.metric for column in default_columns(rows)]


@pytest.mark.parametrize("metric", ["spent_seconds", "spent_joules", "spent_train_flops"])
def test_what_a_metered_budget_spent_is_shown_as_the_sum_of_its_phases(metric):
    rows = [row("top1", 90.0, "test", "full"), row(metric, 20.0, "search"), row(metric, 41.0)]
    assert metric in shown(rows)
    (line,) = summarise(rows, [Column(metric, "training")])
    assert line.cells[f"{metric}:training"].mean == 61.0
    assert column_for(metric, rows) == Column(metric, "training")


def test_counted_budgets_have_no_column_of_their_own():
    assert not [name for name in shown([row("spent_epochs", 4.0)]) if name.startswith("spent")]


def test_the_price_of_a_target_is_shown_where_one_was_asked_for():
    asked = [
        row("time_to_target", 12.0),
        row("energy_to_target", None, reason="no RAPL domain on this machine"),
        row("flops_to_target", None, reason="never reached"),
    ]
    names = ["time_to_target", "energy_to_target", "flops_to_target"]
    assert shown(asked)[-3:] == names
    assert not set(names) & set(shown([row("train_time", 9.0)]))


def test_energy_of_an_image_stands_beside_the_other_costs_of_inference():
    rows = [row("energy_image@8", 0.5, "inference", "full")]
    assert column_for("energy_image@8", rows) == Column("energy_image@8", "inference")
    assert Column("energy_image@8", "inference").is_cost
