from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.budget import CURRENCIES, Budget
from tasks.errors import UserError

AMOUNTS = st.floats(min_value=1e-3, max_value=1e6, allow_nan=False)
SIZES = st.integers(min_value=1, max_value=10_000)


@given(amount=AMOUNTS, currency=st.sampled_from(CURRENCIES))
def test_a_budget_is_read_back_from_both_of_its_forms(amount: float, currency: str) -> None:
    budget = Budget(amount, currency)
    assert Budget.parse(budget.as_dict()) == budget
    assert Budget.parse(f"{currency}={amount!r}") == budget
    assert Budget.parse(budget) is budget


@given(amount=AMOUNTS, currency=st.sampled_from(CURRENCIES), per_epoch=SIZES, batch=SIZES)
def test_steps_cover_the_budget_by_less_than_one_step(
    amount: float, currency: str, per_epoch: int, batch: int
) -> None:
    exact = {"epochs": amount * per_epoch, "samples": amount / batch, "steps": amount}[currency]
    try:
        steps = Budget(amount, currency).total_steps(per_epoch, batch)
    except UserError:
        assert exact < 1
        return
    assert steps >= 1
    assert exact * (1 - 1e-8) <= steps < exact + 1


@given(per_epoch=SIZES, epochs=st.integers(1, 500), batch=SIZES)
def test_the_three_currencies_agree_on_whole_epochs(
    per_epoch: int, epochs: int, batch: int
) -> None:
    steps = epochs * per_epoch
    assert Budget(epochs, "epochs").total_steps(per_epoch, batch) == steps
    assert Budget(steps, "steps").total_steps(per_epoch, batch) == steps
    assert Budget(steps * batch, "samples").total_steps(per_epoch, batch) == steps


def test_rounding_errors_buy_no_extra_step() -> None:
    assert 0.07 * 100 > 7
    assert Budget(0.07, "epochs").total_steps(100, 8) == 7
    assert Budget(0.071, "epochs").total_steps(100, 8) == 8


@pytest.mark.parametrize("amount", [0, -1, -0.0, math.nan, math.inf, True, "many", None])
def test_an_amount_that_buys_nothing_is_refused(amount: object) -> None:
    with pytest.raises(UserError, match="number above zero"):
        Budget(amount, "epochs")  # type: ignore[arg-type]


def test_less_than_one_step_is_refused_with_the_size_of_a_step() -> None:
    with pytest.raises(UserError, match=r"31 samples is less than one optimizer step \(32 images"):
        Budget(31, "samples").total_steps(10, 32)


def test_a_misspelt_currency_gets_the_nearest_one() -> None:
    with pytest.raises(UserError, match="did you mean 'epochs'"):
        Budget.parse({"epoch": 3})


@pytest.mark.parametrize("value", ["10", "epochs=ten", {}, {"epochs": 1, "steps": 2}, [1], None])
def test_what_is_not_a_budget_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="budget"):
        Budget.parse(value)  # type: ignore[arg-type]


def test_a_budget_reads_as_english() -> None:
    assert str(Budget(1, "epochs")) == "1 epoch"
    assert str(Budget(2.5, "epochs")) == "2.5 epochs"
    assert str(Budget(12_500_000, "samples")) == "12500000 samples"
