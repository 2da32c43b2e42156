from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.budget import COUNTED, METERED, UNITS, Budget, Part, spent_fraction
from tasks.errors import UserError

UNHURRIED = settings(deadline=None)

AMOUNTS = st.floats(min_value=1e-3, max_value=1e18, allow_nan=False)
COUNTS = st.floats(min_value=1e-3, max_value=1e6, allow_nan=False)
SIZES = st.integers(min_value=1, max_value=10_000)


def batches(amount: float, unit: str, per_epoch: int, batch: int, **more: int) -> int | None:
    return Budget({unit: amount}).total_batches(per_epoch, batch, **more)


@UNHURRIED
@given(st.dictionaries(st.sampled_from(UNITS), AMOUNTS, min_size=1))
def test_a_budget_is_read_back_from_both_of_its_forms(amounts: dict[str, float]) -> None:
    budget = Budget(amounts)
    assert Budget.parse(budget.as_dict()) == budget
    assert (
        Budget.parse(",".join(f"{name}={amount!r}" for name, amount in amounts.items())) == budget
    )
    assert Budget.parse(budget) is budget
    assert set(budget.metered) == set(amounts) & set(METERED)


@UNHURRIED
@given(amount=COUNTS, unit=st.sampled_from(COUNTED), per_epoch=SIZES, batch=SIZES)
def test_steps_cover_the_budget_by_less_than_one_step(
    amount: float, unit: str, per_epoch: int, batch: int
) -> None:
    exact = {"epochs": amount * per_epoch, "samples": amount / batch, "steps": amount}[unit]
    try:
        steps = batches(amount, unit, per_epoch, batch)
    except UserError:
        assert exact < 1
        return
    assert steps is not None
    assert steps >= 1
    assert exact * (1 - 1e-8) <= steps < exact + 1


@UNHURRIED
@given(per_epoch=SIZES, epochs=st.integers(1, 500), batch=SIZES)
def test_the_three_counted_units_agree_on_whole_epochs(
    per_epoch: int, epochs: int, batch: int
) -> None:
    steps = epochs * per_epoch
    assert batches(epochs, "epochs", per_epoch, batch) == steps
    assert batches(steps, "steps", per_epoch, batch) == steps
    assert batches(steps * batch, "samples", per_epoch, batch) == steps


def test_an_optimizer_step_is_several_batches_where_they_are_accumulated() -> None:
    assert batches(10, "steps", 7, 32, accumulate=4) == 40
    assert batches(2, "epochs", 7, 32, accumulate=4) == 14
    assert batches(320, "samples", 7, 32, accumulate=4) == 10


def test_the_smallest_of_several_counted_units_counts() -> None:
    assert Budget({"epochs": 2, "steps": 15, "seconds": 1}).total_batches(10, 32) == 15
    assert Budget({"epochs": 1, "steps": 15}).total_batches(10, 32) == 10
    assert Budget({"seconds": 1, "joules": 5}).total_batches(10, 32) is None


def test_rounding_errors_buy_no_extra_step() -> None:
    assert 0.07 * 100 > 7
    assert batches(0.07, "epochs", 100, 8) == 7
    assert batches(0.071, "epochs", 100, 8) == 8


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    "amount", [0, -1, -0.0, math.nan, math.inf, True, "many", "10", 10**400, None]
)
def test_an_amount_that_buys_nothing_is_refused(amount: object, unit: str) -> None:
    with pytest.raises(UserError, match="must be a positive finite number"):
        Budget({unit: amount})  # type: ignore[dict-item]


def test_less_than_one_step_is_refused_with_the_size_of_a_step() -> None:
    with pytest.raises(UserError, match=r"31 samples is less than one step \(32 images"):
        batches(31, "samples", 10, 32)


@pytest.mark.parametrize(
    ("told", "meant"), [("epoch", "epochs"), ("second", "seconds"), ("train_flop", "train_flops")]
)
def test_a_misspelt_unit_gets_the_nearest_one(told: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"did you mean '{meant}'"):
        Budget.parse({told: 3})


@pytest.mark.parametrize(
    "value", ["10", "epochs=ten", "epochs=1,epochs=2", "epochs=1,", {}, [1], None, 3]
)
def test_what_is_not_a_budget_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="budget"):
        Budget.parse(value)  # type: ignore[arg-type]


def test_a_budget_reads_as_english() -> None:
    assert str(Budget({"epochs": 1})) == "1 epoch"
    assert str(Budget({"epochs": 2.5})) == "2.5 epochs"
    assert str(Budget({"samples": 12_500_000})) == "12500000 samples"
    assert str(Budget({"train_flops": 1e15})) == "1e+15 training FLOPs"
    both = Budget({"seconds": 60, "epochs": 10})
    assert str(both) == "10 epochs or 60 seconds, whichever is spent first"


@UNHURRIED
@given(
    batches=st.integers(0, 1000),
    limit=st.none() | st.integers(1, 1000),
    metered=st.dictionaries(st.sampled_from(METERED), st.floats(1e-3, 1e6), min_size=1),
    data=st.data(),
)
def test_the_spent_fraction_is_that_of_the_unit_nearest_to_its_end(
    batches: int, limit: int | None, metered: dict[str, float], data: st.DataObject
) -> None:
    spent = {name: data.draw(st.floats(0, 2e6)) for name in metered}
    fraction = spent_fraction(batches, limit, spent, metered)
    exhausted = [spent[name] >= amount for name, amount in metered.items()]
    exhausted.append(limit is not None and batches >= limit)
    assert (fraction >= 1) == any(exhausted)


@UNHURRIED
@given(start=st.floats(0, 0.99), share=st.floats(0.01, 1), other=st.floats(0.01, 1))
def test_the_parts_of_phases_follow_each_other_to_the_end(
    start: float, share: float, other: float
) -> None:
    part = Part(start, share)
    end = min(1.0, start + share)
    assert part.progress(start) == 0
    assert part.progress((start + end) / 2) == pytest.approx(0.5)
    assert part.progress(end) == pytest.approx(1)
    assert Part(end).progress(1.0) >= 1
    assert part.progress(start + share * other / 2) <= 0.5 / min(share, 1 - start) * share + 1e-9


def test_what_sums_of_seconds_lose_by_rounding_pays_for_no_further_step() -> None:
    """Sums of floats differ in their last digits from one version of Python to the next."""
    spent = sum([0.1] * 2400) - 1e-10
    assert spent < 240
    assert spent_fraction(0, None, {"seconds": spent}, {"seconds": 240.0}) == 1
    assert spent_fraction(0, None, {"seconds": 239.999}, {"seconds": 240.0}) < 1
    assert Part(0.5, 0.5).progress(1 - 1e-12) == 1
    assert Part(0.5, 0.5).progress(0.9999) < 1
